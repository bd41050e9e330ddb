-- A worker that was ended is heard: early evidence against it was wrong, or it slept. What early evidence alone charged
-- (layer 3) is refunded; that layer is silent about the machine for a while; a death report by layer 2 that is
-- contradicted switches the layer off for the machine, as its pids can't be trusted, until that has been restarted (register); an
-- alert says so. The caller holds the worker row.
create or replace function heard_again(p_worker worker) returns void
language plpgsql
as $$
declare
  v_jobs uuid[];
begin
  update worker_detail
  set end_reason = end_reason || jsonb_build_object('heardAgainAt', iso(clock()))
  where incarnation = p_worker.incarnation and not end_reason ? 'heardAgainAt';
  if not found then
    -- What somebody held at that time.
    if p_worker.end_layer = 3 then
      perform refund(p_worker.incarnation);
    end if;
    return;
  end if;
  if p_worker.end_layer = 3 then
    perform connection_came_back(p_worker);
    v_jobs := refund(p_worker.incarnation);
  elsif p_worker.end_layer = 2 then
    update machine set witness_contradicted_at = clock()
    where namespace = p_worker.namespace and id = p_worker.machine_id;
    perform hint(p_worker.namespace, 'watch');
  end if;
  if p_worker.end_layer in (2, 3) then
    perform record_event(p_worker.namespace, 'worker.false_alarm', coalesce(v_jobs, '{}'), p_worker.incarnation,
      jsonb_build_object('layer', p_worker.end_layer));
  end if;
end
$$;
