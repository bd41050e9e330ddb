-- Layer 3. Notes which live workers' reserved connections are no longer on the server, and returns those that have been
-- away for the grace and may be ended on that evidence.
--
-- Silent: behind a pooler (no backend is known), when more than one machine lost connections within the grace (that is
-- the network or the server), for one lease after a false alarm about the machine, and where the loss would be a job's
-- last: that is judged on layers 1, 2 or 4 alone.
create or replace function unheard_connections(p_namespace text) returns uuid[]
language plpgsql
as $$
declare
  v_now timestamptz := clock();
begin
  update worker w
  set connection_missing_since = v_now
  where w.namespace = p_namespace and w.ended_at is null and w.backend_pid is not null
    and w.connection_missing_since is null
    and not exists (select from pg_stat_activity a where a.pid = w.backend_pid);

  if (select count(distinct machine_id)
      from worker
      where namespace = p_namespace and ended_at is null
        and connection_missing_since > v_now - 2 * milliseconds(connection_grace_ms())) > 1 then
    return '{}';
  end if;
  return array(
    select w.incarnation
    from worker w
    join machine m on m.namespace = w.namespace and m.id = w.machine_id
    where w.namespace = p_namespace and w.ended_at is null
      and w.connection_missing_since <= v_now - milliseconds(connection_grace_ms())
      and coalesce(m.connection_false_alarm_at < v_now - milliseconds(w.lease_ms), true)
      and not exists (
        select from job j
        where j.namespace = p_namespace and j.status = 'running' and j.worker = w.incarnation
          and j.lost >= j.max_lost - 1 and not has_progressed(j.id, j.attempt)
      )
    order by w.incarnation
    for no key update of w skip locked
  );
end
$$;
