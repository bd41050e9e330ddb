-- Fails attempts; p_values are the errors, p_delays the ms until a retry is due. See settle for the answers.
create or replace function fail(p_jobs uuid[], p_tokens uuid[], p_values text[] default null, p_delays bigint[] default null) returns text[]
language sql security definer set search_path from current
as $$
  select settle(p_jobs, p_tokens, array_fill('failed'::text, array[cardinality(p_jobs)]), p_values, p_delays)
$$;
