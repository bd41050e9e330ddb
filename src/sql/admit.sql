-- Which of these waiting jobs, locked by the caller, may start now as far as their concurrency keys go: at most one job with a key runs
-- at a time, counted over the running rows, never by a counter. One that may not is parked, out of the way of claims, until
-- free_keys brings it back; one whose key somebody else decides about at this moment is left where it is.
--
-- Each key is decided under a lock of its own, and counted in a statement after it, so that two claims can't both find it free. The
-- lock is only tried: whoever holds jobs may wait for a key (free_keys), so whoever holds a key waits for nothing.
create or replace function admit(p_jobs uuid[]) returns uuid[]
language plpgsql
as $$
declare
  v_admitted uuid[] := '{}';
  v_keys text[] := '{}';
  j record;
begin
  for j in
    select c.id, c.namespace, c.concurrency_key
    from unnest(p_jobs) with ordinality as p (id, n)
    cross join lateral (select * from job where job.id = p.id offset 0) as c
    order by p.n
  loop
    if j.concurrency_key is null then
      v_admitted := v_admitted || j.id;
    elsif pg_try_advisory_xact_lock(key_lock(j.namespace, j.concurrency_key)) then
      if j.concurrency_key = any (v_keys)
        or exists (select from job where namespace = j.namespace and concurrency_key = j.concurrency_key and holds_key) then
        update job set parked = true, place = null, lane = lane & ~1::bigint where id = j.id;
      else
        v_admitted := v_admitted || j.id;
        v_keys := v_keys || j.concurrency_key;
      end if;
    end if;
  end loop;
  return v_admitted;
end
$$;

-- The advisory lock under which a concurrency key is decided about. Two keys with one number wait for each other, no more.
create or replace function key_lock(p_namespace text, p_key text) returns bigint
language sql stable
as $$
  select hashtextextended(current_schema() || chr(31) || p_namespace || chr(31) || p_key, 4712)
$$;
