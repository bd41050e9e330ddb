-- Gives a worker up to p_want due jobs of its queues and types, each with a fresh random token. A claim is a renewal: it
-- locks the worker row first, refuses an ended one and sets the lease; the worker counts from when it sent the claim.
--
-- p_claim is made by the client: the same id again returns the same attempts, so a lost reply costs nothing.
-- Order: priority, then due time, then id, over all queues and types together.
-- The last chance is taken alone: a job with one lost worker left shares its worker with no other. An idle worker takes
-- such a job first; a busy one reserves it, takes nothing more and so becomes idle.
create or replace function claim(
  p_worker uuid,
  p_claim uuid,
  p_want integer,
  p_queues text[],
  p_types text[]
) returns json
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  v_now timestamptz := clock();
  v_worker worker;
  v_ns text;
  v_holds_any boolean;
  v_idle boolean;
  v_holds_last_chance boolean;
  v_alone uuid;
  v_taken uuid[] := '{}';
  v_got uuid[];
  v_left integer := p_want;
  v_queue text[];
  v_type text[];
  v_priority integer[];
  v_at timestamptz[];
  v_id uuid[];
  v_head record;
  v_next_due timestamptz;
  v_best integer;
  v_second integer;
begin
  perform guard();
  perform touch_tick_unless_held(2 * sweep_every_ms());
  select * into v_worker from worker where incarnation = p_worker for no key update;
  if found and v_worker.ended_at is not null then
    perform heard_again(v_worker);
  end if;
  if not found or v_worker.ended_at is not null or not v_worker.epoch like '%/' || database_life() then
    return lease_lost_answer(p_worker);
  end if;
  v_ns := v_worker.namespace;

  if v_worker.last_claim = p_claim then
    v_alone := v_worker.alone_for;
    v_taken := array(
      select id from job
      where namespace = v_ns and worker = p_worker and status = 'running' and claim_number = v_worker.claim_number
    );
    v_left := 0;
  elsif v_worker.drain_requested_at is not null or v_worker.draining_at is not null then
    v_left := 0;
  end if;

  v_holds_last_chance := exists (
    select from job j
    where j.namespace = v_ns and j.worker = p_worker and j.status = 'running' and j.lost >= j.max_lost - 1
      and not has_progressed(j.id, j.attempt)
  );
  if v_holds_last_chance then
    v_left := 0;
  elsif v_left > 0 and exists (
    select from job j
    where j.namespace = v_ns and j.status = 'pending' and j.lost >= j.max_lost - 1
      and j.queue = any (p_queues) and j.type = any (p_types) and j.run_at <= v_now
  ) then
    v_holds_any := exists (select from job j where j.namespace = v_ns and j.worker = p_worker and j.status = 'running');
    v_alone := last_chance(v_ns, p_worker, v_worker.alone_for, v_holds_any, p_queues, p_types);
    if v_alone is not null then
      if not v_holds_any then
        v_taken := take(array[v_alone], p_worker, v_worker.claim_number + 1);
        v_holds_last_chance := true;
        v_alone := null;
      end if;
      v_left := 0;
    end if;
  end if;

  if v_left > 0 then
    select array_agg(q), array_agg(t)
    into v_queue, v_type
    from unnest(p_queues) as q cross join unnest(p_types) as t;
    for i in 1 .. coalesce(cardinality(v_queue), 0) loop
      select * into v_head from lane_head(v_ns, v_queue[i], v_type[i], 32768);
      v_priority[i] := v_head.head_priority;
      v_at[i] := v_head.head_at;
      v_id[i] := v_head.head_id;
      v_next_due := least(v_next_due, v_head.next_due_at);
    end loop;

    -- Merges the lanes: each turn takes from the lane whose head comes first, up to where another lane's head comes before.
    -- Ends: every turn either fills what is wanted or moves one lane's head on.
    while v_left > 0 loop
      v_best := null;
      v_second := null;
      for i in 1 .. coalesce(cardinality(v_queue), 0) loop
        continue when v_priority[i] is null;
        if v_best is null or (-v_priority[i], v_at[i], v_id[i]) < (-v_priority[v_best], v_at[v_best], v_id[v_best]) then
          v_second := v_best;
          v_best := i;
        elsif v_second is null or (-v_priority[i], v_at[i], v_id[i]) < (-v_priority[v_second], v_at[v_second], v_id[v_second]) then
          v_second := i;
        end if;
      end loop;
      exit when v_best is null;
      if v_priority[v_second] < v_priority[v_best] then
        v_second := null;
      end if;

      v_got := take(array(
        select j.id
        from job j
        where j.namespace = v_ns and j.queue = v_queue[v_best] and j.type = v_type[v_best]
          and j.status = 'pending' and j.priority = v_priority[v_best] and j.run_at <= v_now
          and (j.run_at, j.id) >= (v_at[v_best], v_id[v_best])
          and (v_second is null or (j.run_at, j.id) < (v_at[v_second], v_id[v_second]))
          and j.lost < j.max_lost - 1
        order by j.run_at, j.id
        limit v_left
        for no key update skip locked
      ), p_worker, v_worker.claim_number + 1);
      v_taken := v_taken || v_got;
      v_left := v_left - cardinality(v_got);
      if v_left > 0 then
        if v_second is not null then
          select j.priority::integer as head_priority, j.run_at as head_at, j.id as head_id
          into v_head
          from job j
          where j.namespace = v_ns and j.queue = v_queue[v_best] and j.type = v_type[v_best]
            and j.status = 'pending' and j.priority = v_priority[v_best] and j.run_at <= v_now
            and (j.run_at, j.id) > (v_at[v_second], v_id[v_second])
          order by j.run_at, j.id
          limit 1;
        end if;
        if v_second is null or not found then
          select * into v_head from lane_head(v_ns, v_queue[v_best], v_type[v_best], v_priority[v_best]);
          v_next_due := least(v_next_due, v_head.next_due_at);
        end if;
        v_priority[v_best] := v_head.head_priority;
        v_at[v_best] := v_head.head_at;
        v_id[v_best] := v_head.head_id;
      end if;
    end loop;
  end if;

  -- With a job in hand the lease is one lease from the last sign of life, which is this claim or a renewal that overtook it: a
  -- busy worker's never shrinks by that, and the long deadline of one that was idle does not protect the job. A worker that holds
  -- nothing is on its idle beat from now on: its next claim may come that late.
  v_idle := cardinality(v_taken) = 0
    and not exists (select from job j where j.namespace = v_ns and j.worker = p_worker and j.status = 'running');
  update worker
  set seen_at = v_now,
      span_ms = case when v_idle then greatest(lease_ms, 3 * idle_beat_ms) when cardinality(v_taken) > 0 then lease_ms else span_ms end,
      beat_ms = case when v_idle then idle_beat_ms when cardinality(v_taken) > 0 then renew_ms else beat_ms end,
      until = case
        when cardinality(v_taken) > 0 then greatest(v_now, least(seen_at, clock_after_wait())) + milliseconds(lease_ms)
        else greatest(until, v_now + milliseconds(case when v_idle then greatest(lease_ms, 3 * idle_beat_ms) else span_ms end))
      end,
      writable_mark_ms = (select writable_total_ms from tick),
      claim_number = v_worker.claim_number + case when last_claim = p_claim then 0 else 1 end,
      last_claim = p_claim,
      alone_for = v_alone
  where incarnation = p_worker;

  if cardinality(v_taken) > 0 then
    if v_worker.last_claim is distinct from p_claim then
      perform record_event(v_ns, 'job.picked_up', v_taken, p_worker);
    end if;
    if not exists (select from sweeper where namespace = v_ns and leader_at > v_now - milliseconds(2.5 * sweep_every_ms())) then
      perform hint(v_ns, 'watch');
    end if;
  end if;

  return json_build_object(
    'outcome', 'claimed',
    'drain', v_worker.drain_requested_at is not null,
    'alone', v_holds_last_chance or v_alone is not null,
    'running', cardinality(v_taken) > 0 or leases_exist(v_ns),
    'nextDueMs', milliseconds_between(v_now, v_next_due),
    'jobs', claimed_jobs(v_taken)
  );
end
$$;
