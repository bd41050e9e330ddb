-- Supervisors of a namespace, by machine: those that are there, and those that left or fell silent within p_ended_within_ms.
create or replace function list_supervisors(p_namespace text, p_ended_within_ms bigint default 3600000) returns jsonb
language sql stable security definer set search_path from current
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'name', s.name, 'machineId', s.machine_id, 'hostname', s.hostname, 'pid', s.pid,
    'bootId', s.boot_id, 'pidNamespace', s.pid_namespace, 'processStarted', s.process_started,
    'status', case when s.stopped_at is null and s.until > clock() then 'online' else 'offline' end,
    'reason', case
      when s.stopped_at is not null then 'stopped'
      when s.until <= clock() then 'its lease lapsed'
      else 'seen on time' end,
    'processesMin', s.processes_min, 'processesMax', s.processes_max,
    'workersOnline', (
      select count(*) from worker_truth w
      where w.namespace = s.namespace and w.machine_id = s.machine_id and w.parent_pid = s.pid and w.status <> 'offline'
        and w.registered_at >= s.started_at
    ),
    'restarts', s.restarts, 'lastExit', s.last_exit,
    'startedAt', iso(s.started_at), 'lastSeenAt', iso(s.seen_at), 'lastSeenAgoMs', milliseconds_between(s.seen_at, clock()),
    'stoppedAt', iso(s.stopped_at), 'version', s.version, 'command', s.command
  ) order by s.machine_id, s.name), '[]')
  from supervisor s
  where s.namespace = p_namespace and coalesce(s.stopped_at, s.until) > clock() - milliseconds(p_ended_within_ms)
$$;
