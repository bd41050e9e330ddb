-- Settles those whose jobs nobody else holds at this moment, and says of the others that they are busy. See settle, which has waited for
-- them.
create or replace function settle_free(p_jobs uuid[], p_tokens uuid[], p_outcomes text[], p_values text[], p_delays bigint[]) returns text[]
language plpgsql
as $$
declare
  v_free uuid[] := array(select id from job where id = any (p_jobs) order by id for no key update skip locked);
  -- In a later statement: what has ended meanwhile is held by nobody, and late.
  v_busy uuid[] := array(select id from job where id = any (p_jobs) and id <> all (v_free));
  v_at integer[] := array(select n from unnest(p_jobs) with ordinality as j (id, n) where id <> all (v_busy) order by n);
  v_settled text[];
  v_answers text[] := array_fill('busy'::text, array[cardinality(p_jobs)]);
begin
  if v_busy = '{}' then
    -- Let go just now, or it was nobody's job that was waited for: then this ends as the first try did.
    raise lock_not_available using message = 'what these outcomes need is held by somebody else';
  elsif v_at = '{}' then
    return v_answers;
  end if;
  select settle(array_agg(p_jobs[n] order by n), array_agg(p_tokens[n] order by n), array_agg(p_outcomes[n] order by n),
                case when p_values is not null then array_agg(p_values[n] order by n) end,
                case when p_delays is not null then array_agg(p_delays[n] order by n) end)
  into v_settled
  from unnest(v_at) as n;
  for i in 1 .. cardinality(v_at) loop
    v_answers[v_at[i]] := v_settled[i];
  end loop;
  return v_answers;
end
$$;
