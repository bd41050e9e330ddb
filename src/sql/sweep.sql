-- One pass of recovery: writes the tick, ends workers whose lease has lapsed (layer 4) or whose reserved connection is gone
-- (layer 3), and takes back the jobs of every worker that has ended or is missing, at most p_limit of them. Then it looks after runs
-- and after aimed jobs whose target is away.
--
-- p_worker asks as a candidate: the leader does the pass; a deputy only watches connections and becomes leader when the
-- leader has been silent for two sweeps; everybody else is told so. Without p_worker (an operator, a cron) the pass is
-- simply done: two at once only waste work, because each worker row is judged again under its lock.
-- Whoever did the pass also judges the alerts, where something may have changed or 5 s have gone by.
-- p_reckoned_ms: what the database's clock should say now, in milliseconds, by what the caller reckons: its last reading of it and the
-- time that has gone by since on a clock without steps. A clock that says otherwise has stepped, and nobody is judged by it before a whole
-- lease has passed, in this very pass. Null, from whoever has no earlier reading: nothing is compared.
create or replace function sweep(
  p_namespace text,
  p_worker uuid default null,
  p_limit integer default 500,
  p_reckoned_ms bigint default null
) returns json
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  v_now timestamptz := clock();
  v_now_ms bigint := (extract(epoch from v_now) * 1000)::bigint;
  v_clock_stepped boolean := coalesce(abs(v_now_ms - p_reckoned_ms) > clock_step_ms(), false);
  v_role text := 'leader';
  v_before sweeper;
  v_by text := coalesce((select id from worker_detail where incarnation = p_worker), 'sweep');
  v_tick tick;
  v_lapsed uuid[];
  v_unheard uuid[];
  v_gone uuid[];
  v_ended uuid[] := '{}';
  v_back json := '[]';
  v_next_ms bigint;
  v_not_before_ms bigint;
  v_compare boolean;
  v_running boolean;
  v_more boolean := false;
  v_alerts jsonb := '[]';
  v_alerts_ms bigint;
begin
  perform guard();
  select * into v_before from sweeper where namespace = p_namespace;
  if p_worker is not null and v_before.leader <> p_worker and v_before.deputy <> p_worker
    and v_before.leader_at between v_now - milliseconds(2 * sweep_every_ms()) and v_now + milliseconds(2 * sweep_every_ms())
    and v_before.deputy_at between v_now - milliseconds(2 * sweep_every_ms()) and v_now + milliseconds(2 * sweep_every_ms()) then
    -- Neither part is free: said without a lock, as every worker asks now and then.
    v_role := 'none';
  elsif p_worker is not null then
    perform touch_tick(sweep_every_ms() - 100, v_clock_stepped);
    v_role := elect_sweeper(p_namespace, p_worker);
  else
    perform touch_tick(0, v_clock_stepped);
  end if;
  if v_role = 'none' then
    return json_build_object('role', v_role, 'running', upkeep_due(p_namespace), 'ended', v_ended, 'machines', '{}'::text[],
      'recovered', '[]'::json, 'more', false, 'nextMs', null, 'alerts', v_alerts, 'alertsMs', null, 'deliver', false,
      'databaseMs', v_now_ms);
  end if;
  select * into v_tick from tick;

  v_unheard := unheard_connections(p_namespace);
  if v_role = 'leader' then
    -- A deadline further away than a span is impossible: the clock stepped back. Judged, and written back, as now + span.
    update worker set until = v_now + milliseconds(span_ms)
    where incarnation in (
      select incarnation from worker
      where namespace = p_namespace and ended_at is null and until > v_now + milliseconds(span_ms) + interval '1 second'
      order by incarnation
      for no key update skip locked
    );

    v_lapsed := array(
      select incarnation from worker
      where namespace = p_namespace and ended_at is null
        -- What the judgement needs in any case, and cheap.
        and until < v_now
        and judged_after(until, span_ms, writable_mark_ms, v_tick) < v_now
      order by incarnation
      limit p_limit
      for no key update skip locked
    );
    -- Judged again, in a new statement, now that the rows are locked: a renewal may have come in between.
    v_lapsed := array(
      select incarnation from worker
      where incarnation = any (v_lapsed) and ended_at is null
        and judged_after(until, span_ms, writable_mark_ms, v_tick) < v_now
    );
    v_ended := end_workers(p_namespace, v_lapsed, 'lost', 4::smallint,
      jsonb_build_object('code', 'worker_lost', 'message', 'its lease lapsed without a renewal', 'noticedBy', v_by));
    v_ended := v_ended || end_workers(p_namespace, v_unheard, 'lost', 3::smallint,
      jsonb_build_object('code', 'worker_lost', 'message', 'its connection to the database was gone and did not come back', 'noticedBy', v_by));

    v_compare := p_worker is null
      or exists (select from sweeper where namespace = p_namespace and compared_at < v_now - interval '1 minute');
    if v_compare then
      update sweeper set compared_at = v_now where namespace = p_namespace;
    end if;
    v_gone := workers_gone(p_namespace, v_compare);
    v_back := taken_back(p_namespace, v_gone, p_limit);
    -- Twice a second the first keys, once a minute all.
    perform free_idle_keys(p_namespace, case when v_compare then null else 250 end);
    v_more := sweep_runs(p_namespace);
    v_more := sweep_aims(p_namespace, p_limit, v_compare) or v_more;
    if alerts_due(p_namespace, 5000) or not exists (
      select from sweeper where namespace = p_namespace and judged_at between v_now - interval '5 seconds' and v_now
    ) then
      v_alerts := judge_alerts(p_namespace);
    end if;
  end if;

  v_running := upkeep_due(p_namespace);
  if v_role = 'leader' then
    v_alerts_ms := (
      select greatest(0, milliseconds_between(v_now, due_at)) from webhook_delivery
      where namespace = p_namespace and delivered_at is null and given_up_at is null
      order by due_at limit 1
    );
    -- While something runs the next pass comes anyway.
    if not v_running then
      v_alerts_ms := least(
        v_alerts_ms,
        -- An end may be dated before this judgement and committed after it.
        case when exists (select from worker_detail where namespace = p_namespace and ended_at > v_now - interval '5 seconds') then 5000 end,
        case when alerts_watch(p_namespace) then 30000 end);
    end if;
  end if;
  if p_worker is not null and v_running and v_role = 'leader' then
    perform ask_for_deputy(p_namespace, p_worker, v_before);
  elsif p_worker is not null and not v_running then
    -- It stops now, so its part is free for whoever begins first.
    perform resign_sweepers(array[p_worker]);
  end if;

  select min(greatest(0, connection_grace_ms() - milliseconds_between(connection_missing_since, v_now)))
  into v_next_ms
  from worker
  where namespace = p_namespace and ended_at is null and connection_missing_since is not null;

  -- Who sweeps by hand may be the only one to write: it has to go on for as long, or the gap after it begins all anew.
  if p_worker is null then
    select max(greatest(0, milliseconds_between(v_now, judged_after(w.until, w.span_ms, w.writable_mark_ms, v_tick))))
    into v_not_before_ms
    from worker w
    where w.namespace = p_namespace and w.ended_at is null and w.until < v_now
      and exists (select from held_job h where h.holder = w.incarnation);
  end if;

  return json_build_object(
    'role', v_role,
    'running', v_running,
    'ended', v_ended,
    'machines', array(select distinct machine_id from worker where incarnation = any (v_ended)),
    'recovered', v_back,
    'more', json_array_length(v_back) >= p_limit or v_more,
    'nextMs', v_next_ms,
    'notBeforeMs', v_not_before_ms,
    'alerts', v_alerts,
    -- When alerts should be looked at again although nothing runs.
    'alertsMs', v_alerts_ms,
    'deliver', coalesce(v_alerts_ms = 0, false),
    'databaseMs', v_now_ms
  );
end
$$;
