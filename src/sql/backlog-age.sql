-- For how long the job that has waited longest, of these queues and types, and of this run if one is given, could have been claimed; null when none waits. A few looks
-- at the beginning of an index for each lane. Jobs that wait for their concurrency key, or for the
-- target that they are aimed at, are not meant: another process would not help.
create or replace function backlog_age(p_namespace text, p_queues text[], p_types text[], p_run uuid default null) returns bigint
language plpgsql stable security definer set search_path from current set enable_seqscan = off set jit = off
as $$
declare
  v_lanes bigint[] := array(
    select distinct l.id | f.front
    from lane l
    cross join generate_series(0::bigint, 1) as f (front)
    where l.namespace = p_namespace and l.queue = any (p_queues) and l.type = any (p_types) and l.target is null
      and (p_run is null or l.run_id = p_run)
  );
begin
  return (
    select milliseconds_between(min(w.since), clock())
    from (
      select j.run_at as since
      from unnest(v_lanes) as l (id)
      cross join lateral (
        select run_at from job
        where lane = l.id and standing = 'pending' and token is null and place > coalesce((select place from lane_mark where lane = l.id), 0)
        order by place limit 1
      ) as j
      union all
      select least(due_at, last_at) from waiting_since(v_lanes)
    ) as w
    where w.since <= clock()
  );
end
$$;
