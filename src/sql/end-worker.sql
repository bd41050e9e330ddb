-- A worker's own last statement: its row ends and what it still holds goes back, in one transaction.
-- p_charge: interrupted (ordered from outside), lost (an uncaught error that no job is to blame for), released (one is,
-- and it has been failed before) or uncharged (it fenced itself).
create or replace function end_worker(p_worker uuid, p_charge text, p_reason jsonb) returns json
language plpgsql security definer set search_path from current
as $$
declare
  v_ns text;
  v_ended uuid[];
  v_back uuid[];
begin
  perform guard();
  select namespace into v_ns from worker where incarnation = p_worker;
  v_ended := end_workers(v_ns, array[p_worker], p_charge, 0::smallint,
    p_reason || jsonb_build_object('noticedBy', (select id from worker_detail where incarnation = p_worker), 'detectedAfterMs', 0));
  if coalesce(cardinality(v_ended), 0) = 0 then
    return lease_lost_answer(p_worker);
  end if;
  v_back := array(select job_id from take_back(v_ns, v_ended, null));
  return json_build_object('outcome', 'ended', 'released', v_back);
end
$$;
