-- Early evidence that workers on one machine are gone: layer 1 (their supervisor saw them exit) or layer 2 (a witness saw
-- that the process no longer exists). Ends them and takes their jobs back at once.
--
-- p_reporter says where the evidence was seen (machineId, bootId, pidNamespace, id): for layer 2 all three must be those
-- of the dead worker, as pids mean nothing elsewhere, and the layer must not have been contradicted on this machine.
create or replace function report_death(
  p_namespace text,
  p_reporter jsonb,
  p_layer smallint,
  p_workers uuid[],
  p_evidence jsonb default '{}'
) returns json
language plpgsql security definer set search_path from current
as $$
declare
  v_dead uuid[];
begin
  perform guard();
  if p_layer not in (1, 2) then
    raise exception using errcode = 'LH003', message = format('layer %s is not reported, only 1 and 2 are', p_layer);
  end if;
  v_dead := array(
    select w.incarnation
    from worker w
    join worker_detail d using (incarnation)
    where w.incarnation = any (p_workers) and w.namespace = p_namespace and w.ended_at is null
      and w.machine_id = p_reporter ->> 'machineId'
      and (p_layer = 1 or (
        d.boot_id = p_reporter ->> 'bootId'
        and d.pid_namespace = p_reporter ->> 'pidNamespace'
        and witness_trusted(p_namespace, w.machine_id)
      ))
  );
  v_dead := end_workers(p_namespace, v_dead, 'lost', p_layer,
    jsonb_build_object('code', 'worker_lost', 'message', 'its process ended', 'noticedBy', p_reporter ->> 'id') || p_evidence);
  return json_build_object('ended', v_dead, 'recovered', taken_back(p_namespace, v_dead));
end
$$;
