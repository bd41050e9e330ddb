-- Makes the row of a new worker incarnation. Always an insert: nothing revives an ended row, and the same incarnation again, as the
-- answer was lost, changes nothing of the row that it has.
--
-- A process that has the pid of an earlier worker on this machine, boot and pid namespace, but another start time, proves
-- that the earlier one is gone; it is ended here and now (layer 2). The answer lists the machine's other live workers,
-- whom this one can witness. A boot of the machine of which no worker was known when layer 2 was found wrong there switches that layer
-- on again.
--
-- Refused in a copy of another database: whoever has not registered can claim nothing. So is one that is aimed at a run which there is
-- not, or which has ended. A worker on a machine that an operator has drained begins drained.
create or replace function register(p_namespace text, p_worker jsonb) returns json
language plpgsql security definer set search_path from current
as $$
declare
  v_now timestamptz := clock();
  v_incarnation uuid := (p_worker ->> 'incarnation')::uuid;
  v_machine text := p_worker ->> 'machineId';
  v_lease_ms integer := (p_worker ->> 'leaseMs')::integer;
  v_renew_ms integer := (p_worker ->> 'renewMs')::integer;
  v_idle_ms integer := (p_worker ->> 'idleBeatMs')::integer;
  v_span_ms integer := greatest(v_lease_ms, 3 * v_idle_ms);
  v_id text := format('%s-%s-%s', p_worker ->> 'hostname', p_worker ->> 'pid', v_incarnation);
  v_run uuid := (p_worker ->> 'runId')::uuid;
  v_new boolean;
  v_dead uuid[];
  v_drain_at timestamptz;
begin
  perform guard();
  if database_copied() then
    raise exception using
      errcode = 'LH008',
      message = format('the database %s is a copy of another one, and workers leave its jobs alone until somebody says that it may run them',
        current_database()),
      hint = 'If it may: leasehold migrate --confirm-copy';
  end if;
  if v_run is not null then
    perform refuse_ended_run(p_namespace, v_run);
  end if;
  perform touch_tick_unless_held(2 * sweep_every_ms());
  if v_renew_ms * 3 > v_lease_ms then
    raise exception using errcode = 'LH005',
      message = format('a renewal every %s ms is more than a third of the lease of %s ms', v_renew_ms, v_lease_ms);
  end if;

  -- Worker rows before the machine's row, and that before jobs: the order in which renewals lock them.
  v_dead := array(
    select w.incarnation
    from worker w
    join worker_detail d using (incarnation)
    where w.namespace = p_namespace
      and w.ended_at is null
      and w.machine_id = v_machine
      and d.boot_id = p_worker ->> 'bootId'
      and d.pid_namespace = p_worker ->> 'pidNamespace'
      and d.pid = (p_worker ->> 'pid')::integer
      and d.process_started <> p_worker ->> 'processStarted'
      and witness_trusted(p_namespace, v_machine)
  );
  if cardinality(v_dead) > 0 then
    perform end_workers(p_namespace, v_dead, 'lost', 2::smallint,
      jsonb_build_object('code', 'worker_lost', 'message', 'its pid belongs to another process now', 'noticedBy', v_id));
  end if;

  insert into machine (namespace, id, hostname)
  values (p_namespace, v_machine, p_worker ->> 'hostname')
  on conflict (namespace, id) do update set hostname = excluded.hostname
  where machine.hostname <> excluded.hostname;

  update machine m set witness_contradicted_at = null
  where m.namespace = p_namespace and m.id = v_machine and m.witness_contradicted_at is not null and p_worker ->> 'bootId' is not null
    and not exists (
      select from worker w
      join worker_detail d using (incarnation)
      where w.namespace = p_namespace and w.machine_id = v_machine
        and d.boot_id = p_worker ->> 'bootId' and d.registered_at <= m.witness_contradicted_at
    );

  -- Shared, so that an operator who drains the machine at this moment waits, and then finds this worker.
  select drain_requested_at into v_drain_at from machine where namespace = p_namespace and id = v_machine for share;

  insert into worker (incarnation, namespace, machine_id, epoch, lease_ms, renew_ms, idle_beat_ms, beat_ms, span_ms, until, seen_at,
                      writable_mark_ms, backend_pid, drain_requested_at, memory_bytes, clock_ahead_ms)
  select v_incarnation, p_namespace, v_machine, database_epoch(), v_lease_ms, v_renew_ms, v_idle_ms, v_idle_ms, v_span_ms,
         v_now + milliseconds(v_span_ms), v_now, tick.writable_total_ms,
         case when (p_worker ->> 'direct')::boolean then pg_backend_pid() end,
         case when v_drain_at is not null then v_now end,
         (p_worker ->> 'memoryBytes')::bigint, (p_worker ->> 'clockAheadMs')::bigint
  from tick
  on conflict (incarnation) do nothing;
  v_new := found;

  insert into worker_detail (incarnation, namespace, id, hostname, pid, boot_id, pid_namespace, process_started, process_started_at,
                             parent_pid, kind, version, command, concurrency, queues, types, labels, direct, listens, registered_at, run_id)
  select v_incarnation, p_namespace, v_id, p_worker ->> 'hostname', (p_worker ->> 'pid')::integer, p_worker ->> 'bootId',
          p_worker ->> 'pidNamespace', p_worker ->> 'processStarted',
          -- An age, not a time: the worker's clock may be wrong.
          v_now - milliseconds((p_worker ->> 'processAgeMs')::double precision), (p_worker ->> 'parentPid')::integer,
          coalesce(p_worker ->> 'kind', 'worker'), p_worker ->> 'version', left(p_worker ->> 'command', 1000),
          (p_worker ->> 'concurrency')::integer,
          array(select jsonb_array_elements_text(p_worker -> 'queues')),
          array(select jsonb_array_elements_text(p_worker -> 'types')),
          array(select jsonb_array_elements_text(coalesce(p_worker -> 'labels', '[]'))),
          coalesce((p_worker ->> 'direct')::boolean, false), coalesce((p_worker ->> 'listens')::boolean, false), v_now, v_run
  where v_new;

  if cardinality(v_dead) > 0 then
    perform take_back(p_namespace, v_dead, null);
  end if;
  if v_new then
    perform record_event(p_namespace, 'worker.started', '{}', v_incarnation, jsonb_build_object('workerId', v_id));
  end if;
  return json_build_object(
    'id', v_id,
    'channel', channel_of(p_namespace),
    'running', somebody_must_sweep(p_namespace) or cardinality(workers_gone(p_namespace, true)) > 0,
    'peers', coalesce((
      select json_agg(json_build_object(
        'incarnation', w.incarnation, 'pid', d.pid, 'bootId', d.boot_id,
        'pidNamespace', d.pid_namespace, 'processStarted', d.process_started))
      from worker w
      join worker_detail d using (incarnation)
      where w.namespace = p_namespace and w.ended_at is null and w.machine_id = v_machine
        and w.incarnation <> v_incarnation
    ), '[]')
  );
end
$$;
