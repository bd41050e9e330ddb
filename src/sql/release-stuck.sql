-- Hands back every running job whose worker gave no sign of life for p_older_than_ms, or has no row at all. Safe beside live
-- workers: it ends their worker's row first, under its lock, and obeys the amnesty after an outage unless forced.
-- p_dry_run only says. Returns the jobs with what became of them.
create or replace function release_stuck(
  p_namespace text,
  p_older_than_ms bigint,
  p_dry_run boolean default false,
  p_force boolean default false
) returns json
language plpgsql security definer set search_path from current
as $$
declare
  v_stuck uuid[];
  v_tick tick;
begin
  perform guard();
  perform touch_tick(0);
  select * into v_tick from tick;
  v_stuck := array(
    select w.incarnation
    from worker w
    where w.namespace = p_namespace and w.ended_at is null
      and w.seen_at <= clock() - milliseconds(p_older_than_ms)
      and (p_force or judged_after(w.until, w.span_ms, w.writable_mark_ms, v_tick) < clock())
    order by w.incarnation
    for no key update skip locked
  );
  if p_dry_run then
    return coalesce((
      select json_agg(json_build_object('job', h.id, 'status', 'running') order by h.id)
      from held_job h
      where h.holder = any (v_stuck || workers_gone(p_namespace, true))
    ), '[]');
  end if;
  perform end_workers(p_namespace, v_stuck, 'lost', 4::smallint,
    jsonb_build_object('code', 'worker_lost', 'message', 'an operator found it silent', 'noticedBy', 'release-stuck'));
  return taken_back(p_namespace, workers_gone(p_namespace, true));
end
$$;
