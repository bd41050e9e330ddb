-- Gives jobs back that were claimed and can't be run here. Not charged. See settle for the answers.
create or replace function release(p_jobs uuid[], p_tokens uuid[], p_values text[] default null) returns text[]
language sql security definer set search_path from current
as $$
  select settle(p_jobs, p_tokens, array_fill('released'::text, array[cardinality(p_jobs)]), p_values)
$$;
