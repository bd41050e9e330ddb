-- Layer 3. Notes which live workers' reserved connections are no longer on the server, and returns those that have been
-- away for the grace and may be ended on that evidence.
--
-- Silent: behind a pooler (no backend is known); about connections that went away with the server (the worker has not been
-- heard since the database is writable again, or since the server was started); when another machine lost connections
-- within the grace of it, come back or not (that is the network); for one lease after a false alarm about the machine; and
-- where the loss would end a job or hold it: that is judged on layers 1, 2 or 4 alone.
create or replace function unheard_connections(p_namespace text) returns uuid[]
language plpgsql
as $$
declare
  v_now timestamptz := clock();
  v_grace interval := milliseconds(connection_grace_ms());
  v_workers uuid[];
begin
  v_workers := array(
    select w.incarnation
    from worker w
    where w.namespace = p_namespace and w.ended_at is null and w.backend_pid is not null
      and w.connection_missing_since is null
      and not exists (select from pg_stat_activity a where a.pid = w.backend_pid)
    order by w.incarnation
    for no key update of w skip locked
  );
  update worker set connection_missing_since = v_now
  where incarnation = any (v_workers) and connection_missing_since is null;

  v_workers := array(
    select incarnation
    from worker
    where namespace = p_namespace and ended_at is null and connection_missing_since <= v_now - v_grace
    order by incarnation
    for no key update skip locked
  );
  -- Judged in a new statement, now that the rows are locked: a renewal or a claim may have come in between.
  return array(
    select w.incarnation
    from worker w
    join machine m on m.namespace = w.namespace and m.id = w.machine_id
    cross join tick
    where w.incarnation = any (v_workers)
      and w.connection_missing_since <= v_now - v_grace
      and w.seen_at >= greatest(tick.writable_since, pg_postmaster_start_time())
      and coalesce(m.connection_false_alarm_at < v_now - milliseconds(w.lease_ms), true)
      and not exists (
        select from worker o
        where o.namespace = p_namespace and o.ended_at is null and o.machine_id <> w.machine_id
          and o.connection_missing_since between w.connection_missing_since - v_grace and w.connection_missing_since + v_grace
      )
      and not exists (
        select from machine o
        where o.namespace = p_namespace and o.id <> w.machine_id
          and o.connection_false_alarm_at >= w.connection_missing_since - v_grace
      )
      and not exists (
        select from held_job j
        where j.holder = w.incarnation and j.claim >= w.low_claim
          and j.cancel_requested_at is null
          and (j.on_worker_lost <> 'retry'
            or case when j.progressed then 0 else j.lost end + 1 >= j.max_lost)
      )
  );
end
$$;
