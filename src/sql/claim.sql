-- Gives a worker up to p_want due jobs of its queues and types, each with a fresh random token. A claim is a renewal: it
-- locks the worker row first, refuses an ended one and sets the lease; the worker counts from when it sent the claim.
--
-- p_claim is made by the client: the same id again returns the same attempts, so a lost reply costs nothing.
-- Order: priority, then jobs that were given back, then place, over all queues and types together. A job whose time has come
-- gets its place from the first claim that sees it.
-- The last chance is taken alone: a job with one lost worker left shares its worker with no other. An idle worker takes
-- such a job first; a busy one reserves it, takes nothing more and so becomes idle.
--
-- p_run: takes the jobs of this run alone, and is told what it is. p_targets: what the worker is, as jobs may be aimed at it; without
-- it aimed jobs are left alone. Both choose among lanes; so does the end of a run that does not keep its jobs.
--
-- p_lanes, p_marks: for each lane a place below which the caller has seen nothing. Only a hint, so that a claim does not walk over
-- what others have taken: a mark that is too low costs time, one that is too high delays what stands below it until somebody
-- claims without it. The answer's marks say what the caller may conclude (see the worker's lane marks): heads are the first places
-- that were seen to wait before anything was taken, fronts where the lanes go on behind what was taken.
create or replace function claim(
  p_worker uuid,
  p_claim uuid,
  p_want integer,
  p_queues text[],
  p_types text[],
  p_lanes bigint[] default null,
  p_marks bigint[] default null,
  p_run uuid default null,
  p_targets text[] default null
) returns text
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  -- Read before this transaction has an id, which every lock below gives it.
  v_end bigint := coalesce(pg_sequence_last_value('job_place'), 0);
  v_oldest xid8;
  v_now timestamptz := clock();
  v_worker worker;
  v_locked record;
  v_ns text;
  v_again boolean;
  v_idle boolean := false;
  v_holds_last_chance boolean := false;
  v_alone uuid;
  v_taken uuid[] := '{}';
  v_given text;
  v_got uuid[];
  v_rows tid[];
  v_left integer := p_want;
  v_lanes bigint[];
  v_priorities smallint[];
  v_places bigint[];
  v_heads bigint[];
  v_fronts bigint[];
  v_some_wait boolean;
  v_due timestamptz;
  v_last timestamptz;
  v_next_due timestamptz;
  v_best integer;
  v_second integer;
  v_found integer;
  v_last_place bigint;
  v_keyed boolean;
  v_left_some boolean := false;
  v_asked uuid[];
  v_decided boolean := false;
  v_turns integer := 0;
begin
  perform guard();
  perform touch_tick_unless_held(2 * sweep_every_ms());
  select w as worker, w.ctid as place into v_locked from worker w where w.incarnation = p_worker for no key update;
  v_worker := v_locked.worker;
  if found and v_worker.ended_at is not null then
    perform heard_again(v_worker);
  end if;
  if not found or v_worker.ended_at is not null or not v_worker.epoch like '%/' || database_life() then
    return lease_lost_answer(p_worker)::text;
  end if;
  v_ns := v_worker.namespace;
  v_again := v_worker.last_claim is not distinct from p_claim;

  if v_again then
    v_alone := v_worker.alone_for;
    v_given := claimed_jobs(p_worker, v_worker.claim_number);
    v_left := 0;
  elsif v_worker.drain_requested_at is not null or v_worker.draining_at is not null then
    v_left := 0;
  end if;
  if v_worker.alone_for is not null then
    v_holds_last_chance := exists (
      select from job where id = v_worker.alone_for and worker = p_worker and token is not null and not progressed
    );
    if v_holds_last_chance then
      v_alone := v_worker.alone_for;
      v_left := 0;
    end if;
  end if;

  if v_left > 0 then
    -- Older than the snapshot of the next statement, which is the safe side.
    v_oldest := pg_snapshot_xmin(pg_current_snapshot());
    select array_agg(l.id), array_agg(l.priority), array_agg(l.head), bool_or(l.some_wait)
    into v_lanes, v_priorities, v_heads, v_some_wait
    from (
      select l.id, l.priority,
             (
               select j.place from job j
               where j.lane = l.id and j.place > coalesce(m.mark, 0) and j.standing = 'pending' and j.token is null
               order by j.place limit 1
             ) as head,
             exists (
               select from job j where j.lane = l.id and j.standing = 'pending' and j.token is null and j.place is null and not j.parked
             ) as some_wait
      from (
        -- Plus 0, so that no plan walks all lanes for the sake of their order.
        select distinct id + 0 as id, priority from lane
        where namespace = v_ns and queue = any (p_queues) and type = any (p_types)
          and (p_run is null or run_id = p_run)
          and (target is null or target = any (p_targets))
          -- One row looked up, as a set of them might be made from all runs.
          and (run_id is null or (select r.status = 'active' or r.keeps_rest from run r where r.id = lane.run_id))
      ) as l
      left join unnest(p_lanes, p_marks) as m (id, mark) on m.id = l.id
      order by l.priority desc, l.id & 1 desc, l.id
    ) as l;
    if v_some_wait then
      select min(w.due_at), min(w.last_at) into v_due, v_last from waiting_since(v_lanes) as w;
    end if;
    if v_due <= v_now then
      -- They come behind all that has a place, so the heads that were seen are right but where there was none.
      v_next_due := place_due(v_lanes);
      v_heads := lane_heads(v_lanes, v_heads, p_lanes, p_marks);
    else
      v_next_due := v_due;
    end if;
    if v_last <= v_now then
      v_idle := open_claim(v_worker) is null;
      v_alone := last_chance(v_ns, p_worker, v_worker.alone_for, not v_idle, v_lanes);
      if cardinality(admit(array_remove(array[v_alone], null))) = 0 then
        v_decided := exists (select from job where id = v_alone and not parked);
        v_alone := null;
      end if;
      if v_alone is not null then
        if v_idle then
          v_given := take(array[v_alone], array(select ctid from job where id = v_alone), p_worker, v_worker.claim_number + 1);
          v_taken := array[v_alone];
        end if;
        v_left := 0;
      end if;
    end if;
  end if;

  if v_left > 0 and v_lanes is not null then
    v_places := v_heads;
    v_fronts := v_heads;

    -- Merges the lanes: each turn takes from the lane whose head comes first, up to where another lane's head comes before.
    -- Ends: every turn either fills what is wanted or moves one lane's head on.
    while v_left > 0 loop
      v_best := null;
      v_second := null;
      for i in 1 .. cardinality(v_lanes) loop
        continue when v_places[i] is null;
        -- The lanes are in order of priority, fronts first.
        exit when v_best is not null and (v_priorities[i] < v_priorities[v_best] or v_lanes[i] & 1 < v_lanes[v_best] & 1);
        if v_best is null or v_places[i] < v_places[v_best] then
          v_second := v_best;
          v_best := i;
        elsif v_second is null or v_places[i] < v_places[v_second] then
          v_second := i;
        end if;
      end loop;
      exit when v_best is null;

      select array_agg(c.id), array_agg(c.ctid), count(*), max(c.place), bool_or(c.concurrency_key is not null)
      into v_got, v_rows, v_found, v_last_place, v_keyed
      from (
        select j.id, j.ctid, j.place, j.concurrency_key
        from job j
        where j.lane = v_lanes[v_best] and j.standing = 'pending' and j.token is null
          and j.place >= v_places[v_best] and (v_second is null or j.place < v_places[v_second])
        order by j.place
        limit v_left
        for no key update skip locked
      ) as c;
      if v_found > 0 then
        v_fronts[v_best] := v_last_place + 1;
      end if;
      if v_keyed then
        v_asked := v_got;
        v_got := admit(v_got);
        v_decided := v_decided or exists (select from job where id = any (v_asked) and id <> all (v_got) and not parked);
        v_rows := array(select ctid from job where id = any (v_got));
        v_left_some := v_left_some or cardinality(v_got) < v_found;
      end if;
      if cardinality(v_got) > 0 then
        v_given := concat_ws(',', v_given, take(v_got, v_rows, p_worker, v_worker.claim_number + 1));
        v_taken := v_taken || v_got;
      else
        v_got := '{}';
      end if;
      if v_keyed and v_found = v_left and cardinality(v_got) < v_found then
        -- Not all were admitted, and more may follow. Bounded: what is left waits for the next claim, which is due at once.
        v_turns := v_turns + 1;
        v_places[v_best] := v_last_place + 1;
        if v_turns >= 50 then
          v_next_due := v_now;
          exit;
        end if;
      end if;
      v_left := v_left - cardinality(v_got);
      continue when v_keyed and v_left > 0 and v_places[v_best] = v_last_place + 1;
      if v_second is null then
        v_places[v_best] := null;
      elsif v_left > 0 then
        v_places[v_best] := (
          select j.place from job j
          where j.lane = v_lanes[v_best] and j.place > v_places[v_second] and j.standing = 'pending' and j.token is null
          order by j.place limit 1
        );
      end if;
    end loop;
  end if;

  if v_decided and v_left > 0 then
    -- Somebody decides about a key just now. Nobody says what he decides, as nobody knows that it was asked for.
    v_next_due := least(v_next_due, v_now + interval '100 ms');
  end if;

  -- With a job in hand the lease is one lease from the last sign of life, which is this claim or a renewal that overtook it: a
  -- busy worker's never shrinks by that, and the long deadline of one that was idle does not protect the job. A worker that holds
  -- nothing is on its idle beat from now on: its next claim may come that late.
  v_idle := v_given is null and open_claim(v_worker) is null;
  update worker
  set seen_at = v_now,
      span_ms = case when v_idle then greatest(lease_ms, 3 * idle_beat_ms) when v_given is not null then lease_ms else span_ms end,
      beat_ms = case when v_idle then idle_beat_ms when v_given is not null then renew_ms else beat_ms end,
      until = case
        when v_given is not null then greatest(v_now, least(seen_at, clock_after_wait())) + milliseconds(lease_ms)
        else greatest(until, v_now + milliseconds(case when v_idle then greatest(lease_ms, 3 * idle_beat_ms) else span_ms end))
      end,
      writable_mark_ms = (select writable_total_ms from tick),
      claim_number = v_worker.claim_number + case when v_again then 0 else 1 end,
      low_claim = case when v_idle then v_worker.claim_number + 1 else low_claim end,
      holds = not v_idle,
      last_claim = p_claim,
      alone_for = v_alone
  -- Where it was found and locked: under a horizon that is held back, to look it up again steps over every version that claims made.
  where ctid = v_locked.place;

  if cardinality(v_taken) > 0 then
    with noted as (
      insert into claimed (worker, claim_number, jobs, remaining)
      values (p_worker, v_worker.claim_number + 1, v_taken, cardinality(v_taken))
    )
    insert into event (at, namespace, kind, job_ids, worker) values (v_now, v_ns, 'job.picked_up', v_taken, p_worker);
  end if;

  -- Put together as text: to make it JSON would read every input once more.
  return left(json_build_object(
    'outcome', 'claimed',
    'drain', v_worker.drain_requested_at is not null,
    'alone', v_alone is not null,
    'running', not v_idle or somebody_must_sweep(v_ns),
    'nextDueMs', milliseconds_between(v_now, v_next_due),
    'run', case when p_run is not null then coalesce((select status::text from run where id = p_run), 'not_found') end,
    'marks', case when p_lanes is not null and v_heads is not null then json_build_object(
      'end', v_end, 'transaction', pg_current_xact_id(), 'oldest', v_oldest, 'lanes', v_lanes, 'heads', v_heads,
      -- What was found and not admitted may stand where it stood.
      'fronts', case when v_left_some then v_heads else coalesce(v_fronts, v_heads) end) end
  )::text, -1) || ', "groups": [' || coalesce(v_given, '') || ']}';
end
$$;
