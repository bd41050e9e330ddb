-- Extends a worker's lease: one write, whatever the number of its jobs. The answer is what the database holds for this
-- worker (job, token, whether cancel was asked), so that both sides can act on every difference.
--
-- p_send_number counts the worker's sends, the first is 1, and none is sent twice: one that was there before, or is two behind, comes from
-- a cloned machine. An ended row is never
-- revived; hearing a worker that was ended on early evidence takes the charge for that back.
--
-- p_idle_beat_ms asks for the long lease of an idle worker. While the database holds jobs for it there is none: the beat may
-- be older than a claim, or an outcome may still be under way, and a job is never protected for longer than a lease.
--
-- p_clock_ahead_ms: what the worker's wall clock is ahead of the database's. Shown, and never used to judge.
-- p_stuck: what of the worker has given no sign of life for too long although it renews: claims | event_loop. Null: nothing.
create or replace function renew(
  p_worker uuid,
  p_send_number bigint,
  p_idle_beat_ms integer default null,
  p_draining boolean default false,
  p_loop_lag_ms integer default 0,
  p_spool_depth integer default 0,
  p_direct boolean default false,
  p_stuck text default null,
  p_spool_age_ms bigint default 0,
  p_memory_bytes bigint default null,
  p_clock_ahead_ms bigint default null
) returns json
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off
as $$
declare
  v_worker worker;
  v_idle_beat_ms integer := p_idle_beat_ms;
  v_low integer;
  v_until timestamptz;
begin
  perform guard();
  perform touch_tick_unless_held(2 * sweep_every_ms());
  select * into v_worker from worker where incarnation = p_worker for no key update;
  if found and v_worker.ended_at is not null then
    perform heard_again(v_worker);
  end if;
  if not found or v_worker.ended_at is not null or v_worker.epoch <> database_epoch() then
    return lease_lost_answer(p_worker);
  end if;
  if p_send_number < v_worker.send_number - 1 or p_send_number = v_worker.send_number and p_send_number > 0 then
    -- The row stays: a request that was merely late must not end the worker that has renewed since.
    return json_build_object('outcome', 'lease_lost', 'reason', json_build_object(
      'code', 'cloned', 'message', 'another process renews as this worker: a cloned machine or a restored snapshot'));
  end if;

  v_low := open_claim(v_worker);
  if v_low is not null then
    v_idle_beat_ms := null;
  end if;

  update worker
  set seen_at = clock(),
      beat_ms = coalesce(v_idle_beat_ms, renew_ms),
      span_ms = case when v_idle_beat_ms is null then lease_ms else greatest(lease_ms, 3 * v_idle_beat_ms) end,
      until = greatest(
        least(until, clock_after_wait() + milliseconds(greatest(span_ms, lease_ms))),
        clock() + milliseconds(case when v_idle_beat_ms is null then lease_ms else greatest(lease_ms, 3 * v_idle_beat_ms) end)),
      writable_mark_ms = (select writable_total_ms from tick),
      send_number = greatest(send_number, p_send_number),
      draining_at = case when p_draining then coalesce(draining_at, clock()) else draining_at end,
      loop_lag_ms = p_loop_lag_ms,
      spool_depth = p_spool_depth,
      spool_age_ms = p_spool_age_ms,
      memory_bytes = coalesce(p_memory_bytes, memory_bytes),
      clock_ahead_ms = coalesce(p_clock_ahead_ms, clock_ahead_ms),
      low_claim = coalesce(v_low, claim_number + 1),
      holds = v_low is not null,
      stuck = p_stuck,
      backend_pid = case when p_direct then pg_backend_pid() end,
      connection_missing_since = null
  where incarnation = p_worker
  returning until into v_until;
  if v_worker.connection_missing_since is not null or (p_direct and v_worker.backend_pid <> pg_backend_pid()) then
    perform connection_came_back(v_worker);
  end if;
  if p_stuck is distinct from v_worker.stuck and p_stuck is not null then
    perform record_event(v_worker.namespace, 'worker.stuck', '{}', p_worker, jsonb_build_object('part', p_stuck));
  end if;

  return json_build_object(
    'outcome', 'renewed',
    'leftMs', milliseconds_between(clock_after_wait(), v_until),
    'drain', v_worker.drain_requested_at is not null,
    'databaseMs', (extract(epoch from clock()) * 1000)::bigint,
    'running', v_low is not null or somebody_must_sweep(v_worker.namespace),
    'held', coalesce((
      select json_agg(json_build_object('job', h.id, 'token', h.token, 'cancel', h.cancel_requested_at is not null))
      from held_job h
      where h.holder = p_worker and h.claim >= v_low
    ), '[]')
  );
end
$$;
