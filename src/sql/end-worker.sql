-- A worker's own last statement: its row ends and what it still holds goes back, in one transaction.
-- p_charge: interrupted (ordered from outside), lost (an uncaught error that no job is to blame for), released (one is,
-- and it has been failed before) or uncharged (it fenced itself). Said again, as the answer was lost, it changes nothing.
create or replace function end_worker(p_worker uuid, p_charge text, p_reason jsonb) returns json
language plpgsql security definer set search_path from current
as $$
declare
  v_worker worker;
  v_ended uuid[];
  v_back uuid[];
begin
  perform guard();
  select * into v_worker from worker where incarnation = p_worker for no key update;
  if not found then
    return lease_lost_answer(p_worker);
  elsif v_worker.end_layer = 0 then
    return json_build_object('outcome', 'ended', 'released', '{}'::uuid[]);
  elsif v_worker.ended_at is not null then
    perform heard_again(v_worker);
    if v_worker.end_layer = 4 and p_reason ->> 'code' = 'self_fenced' then
      -- It was out of reach and stopped by itself in time: no job has brought it down.
      v_back := refund(p_worker);
      if v_back <> '{}' then
        perform record_event(v_worker.namespace, 'worker.false_alarm', v_back, p_worker, '{"layer": 4}');
      end if;
    end if;
    return lease_lost_answer(p_worker);
  end if;
  v_ended := end_workers(v_worker.namespace, array[p_worker], p_charge, 0::smallint,
    p_reason || jsonb_build_object('noticedBy', (select id from worker_detail where incarnation = p_worker), 'detectedAfterMs', 0));
  v_back := array(select job_id from take_back(v_worker.namespace, v_ended, null));
  return json_build_object('outcome', 'ended', 'released', v_back);
end
$$;
