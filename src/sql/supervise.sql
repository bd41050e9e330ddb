-- Gives a supervisor its place: one for each namespace, machine and name. It is free when nobody ever had it, when who had it has
-- left, when that one's lease has lapsed, or when the caller saw on the machine that its process is gone (p_dead: its
-- incarnation; another one that came first keeps the place). Otherwise the answer says who has it.
--
-- Two supervisors would run twice the processes, which costs money and no job: the jobs have leases of their own.
create or replace function supervise(p_namespace text, p_supervisor jsonb, p_dead uuid default null) returns json
language plpgsql security definer set search_path from current
as $$
declare
  v_own uuid := (p_supervisor ->> 'incarnation')::uuid;
  v_lease_ms integer := (p_supervisor ->> 'leaseMs')::integer;
  v_row supervisor;
begin
  perform guard();
  insert into supervisor as s (namespace, machine_id, name, incarnation, hostname, pid, boot_id, pid_namespace, process_started, version,
                               command, processes_min, processes_max, lease_ms, started_at, seen_at, until)
  values (p_namespace, p_supervisor ->> 'machineId', p_supervisor ->> 'name', v_own, p_supervisor ->> 'hostname',
          (p_supervisor ->> 'pid')::integer, p_supervisor ->> 'bootId', p_supervisor ->> 'pidNamespace',
          p_supervisor ->> 'processStarted', p_supervisor ->> 'version', p_supervisor ->> 'command',
          (p_supervisor ->> 'processesMin')::integer, (p_supervisor ->> 'processesMax')::integer, v_lease_ms,
          clock(), clock(), clock() + milliseconds(v_lease_ms))
  on conflict (namespace, machine_id, name) do update
  set incarnation = excluded.incarnation, hostname = excluded.hostname, pid = excluded.pid, boot_id = excluded.boot_id,
      pid_namespace = excluded.pid_namespace, process_started = excluded.process_started, version = excluded.version,
      command = excluded.command, processes_min = excluded.processes_min, processes_max = excluded.processes_max,
      lease_ms = excluded.lease_ms, started_at = excluded.started_at, seen_at = excluded.seen_at, until = excluded.until,
      stopped_at = null
  where s.stopped_at is not null or s.until <= clock_after_wait() or s.incarnation in (v_own, p_dead)
  returning * into v_row;
  if found then
    return json_build_object('outcome', 'held', 'restarts', v_row.restarts);
  end if;

  -- A lease that ends later than it can was granted before the database's clock stepped back; it ends as if it were granted now.
  update supervisor
  set until = least(until, clock() + milliseconds(lease_ms))
  where namespace = p_namespace and machine_id = p_supervisor ->> 'machineId' and name = p_supervisor ->> 'name'
  returning * into v_row;
  return json_build_object('outcome', 'refused', 'holder', json_build_object(
    'incarnation', v_row.incarnation, 'hostname', v_row.hostname, 'pid', v_row.pid, 'bootId', v_row.boot_id,
    'pidNamespace', v_row.pid_namespace, 'processStarted', v_row.process_started, 'startedAt', iso(v_row.started_at),
    'seenAt', iso(v_row.seen_at), 'seenAgoMs', milliseconds_between(v_row.seen_at, clock()),
    'leftMs', milliseconds_between(clock(), v_row.until)));
end
$$;
