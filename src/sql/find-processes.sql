-- What is known of the processes of one boot and pid namespace: of each that lives (p_pids with p_started, its start time) the
-- incarnations that have not ended, or the last one if all have; and beside these the incarnations that have not ended though no
-- such process lives. A process may hold several workers.
create or replace function find_processes(
  p_namespace text,
  p_boot text,
  p_pid_namespace text,
  p_pids integer[],
  p_started text[]
) returns jsonb
language sql stable security definer set search_path from current
as $$
  with known as (
    select d.*, w.machine_id, l.pid is not null as lives,
           row_number() over (partition by d.pid, d.process_started order by d.registered_at desc) as age
    from worker_detail d
    join worker w using (incarnation)
    left join unnest(p_pids, p_started) as l (pid, started) on l.pid = d.pid and l.started = d.process_started
    where w.namespace = p_namespace and d.boot_id = p_boot and d.pid_namespace = p_pid_namespace
      and (w.ended_at is null or l.pid is not null)
  )
  select coalesce(jsonb_agg(jsonb_build_object(
    'incarnation', k.incarnation, 'id', k.id, 'machineId', k.machine_id, 'kind', k.kind, 'pid', k.pid,
    'processStarted', k.process_started, 'parentPid', k.parent_pid, 'command', k.command, 'lives', k.lives,
    'endedAt', iso(k.ended_at), 'endCode', k.end_reason ->> 'code', 'runId', k.run_id, 'runName', r.name, 'runStatus', r.status
  ) order by k.registered_at), '[]')
  from known k
  left join run r on r.id = k.run_id and r.namespace = p_namespace
  where k.ended_at is null or k.age = 1
$$;
