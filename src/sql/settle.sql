-- Ends attempts by their own outcome, a batch in one round trip. Returns one answer for each, in order:
--   completed | failed | retrying | released | cancelled | held   what the job is now
--   accepted before                                            the same outcome of the same token again
--   adopted                                                    late, but nobody had started the job again: it counts
--   lease_lost                                                 stale: nothing changed but the attempt's late_result
--
-- p_outcomes: completed | failed | failed_finally | cancelled | released | interrupted. p_values: the result or the error.
-- p_delays: ms until a failed job is due again. Once cancel was asked the job ends cancelled, whatever the outcome; a
-- completion that came after is kept as late_result. The fence is in the updated row; rows are locked in id order first.
--
-- The settings keep each statement on the primary key, planned once, also where statistics say that the tables are empty.
create or replace function settle(
  p_jobs uuid[],
  p_tokens uuid[],
  p_outcomes text[],
  p_values text[] default null,
  p_delays bigint[] default null
) returns text[]
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  v_answers text[] := array_fill(null::text, array[cardinality(p_jobs)]);
  v_pairs integer[];
  v_values text[];
  v_pending boolean;
  v_n integer;
begin
  perform guard();
  if exists (select from unnest(p_values) as value where octet_length(value) > value_bytes_max()) then
    raise exception using errcode = '54000', message = format('a value is larger than %s bytes', value_bytes_max());
  end if;
  perform 1 from job where id = any (p_jobs) order by id for no key update;

  with outcome as materialized (
    select o.n, o.job_id, o.token, o.outcome, o.value::jsonb as value, coalesce(o.delay_ms, 0) as delay_ms
    from unnest(p_jobs, p_tokens, p_outcomes, p_values, p_delays) with ordinality as o (job_id, token, outcome, value, delay_ms, n)
  ),
  settled as (
    update job j
    set status = case
          when j.cancel_requested_at is not null then 'cancelled'
          when o.outcome = 'completed' then 'completed'
          when o.outcome = 'cancelled' then 'cancelled'
          when o.outcome = 'failed_finally' or (o.outcome = 'failed' and j.failures + 1 >= j.max_attempts) then 'failed'
          when o.outcome = 'interrupted' and j.interruptions + 1 >= interruptions_max() then 'held'
          else 'pending'
        end::job_status,
        failures = j.failures + case when o.outcome in ('failed', 'failed_finally') and j.cancel_requested_at is null then 1 else 0 end,
        lost = case when o.outcome in ('released', 'interrupted') and not has_progressed(j.id, j.attempt) then j.lost else 0 end,
        interruptions = j.interruptions + case when o.outcome = 'interrupted' then 1 else 0 end,
        run_at = case
          when o.outcome = 'failed' and j.cancel_requested_at is null and j.failures + 1 < j.max_attempts
            then clock() + milliseconds(o.delay_ms)
          else j.run_at
        end,
        token = null,
        finished_at = case
          when j.cancel_requested_at is not null or o.outcome in ('completed', 'cancelled', 'failed_finally')
            or (o.outcome = 'failed' and j.failures + 1 >= j.max_attempts)
            then clock()
        end
    from outcome o
    -- A token says running (job_running_has_token). Naming the status too would let the planner walk all running jobs instead.
    where j.id = o.job_id and j.token = o.token
    returning j.id, j.namespace, j.attempt, o.token, j.worker, j.started_at, j.status, j.cancel_requested_at, o.n, o.outcome, o.value
  ),
  ended as (
    insert into attempt (job_id, attempt, token, worker, started_at, ended_at, ended_as, value, end_reason, last_checkpoint, late_result)
    select s.id, s.attempt, s.token, s.worker, s.started_at, clock(),
           case
             when s.status = 'cancelled' then 'cancelled'
             when s.outcome = 'failed_finally' then 'failed'
             else s.outcome
           end::attempt_end,
           case when s.status = 'cancelled' and s.outcome = 'completed' then null else s.value end,
           case when s.status = 'cancelled' then '{"code": "cancelled"}'
                when s.outcome in ('failed', 'failed_finally') then jsonb_build_object('code', s.value -> 'code', 'message', s.value -> 'message')
                when s.outcome in ('released', 'interrupted') then coalesce(s.value, '{}') end,
           (select c.value from checkpoint c where c.job_id = s.id and c.attempt = s.attempt),
           case when s.status = 'cancelled' and s.outcome = 'completed' then jsonb_build_object('outcome', s.outcome, 'value', s.value, 'at', iso(clock())) end
    from settled s
  ),
  held as (
    update job_detail d
    set end_reason = jsonb_build_object('code', 'interrupted_too_often', 'message', format('it was interrupted %s times', interruptions_max()))
    from settled s
    where s.status = 'held' and d.job_id = s.id
  ),
  recorded as (
    insert into event (at, namespace, kind, job_ids, worker)
    select clock(), s.namespace, 'job.' || case when s.status = 'pending' and s.outcome = 'failed' then 'retrying' when s.status = 'pending' then s.outcome else s.status::text end,
           array_agg(s.id order by s.n), s.worker
    from settled s
    group by s.namespace, 3, s.worker
  )
  select array_agg(s.n order by s.n),
         array_agg(case when s.status = 'pending' and s.outcome = 'failed' then 'retrying' when s.status = 'pending' then 'released' else s.status::text end order by s.n),
         bool_or(s.status = 'pending')
  into v_pairs, v_values, v_pending
  from settled s;

  for i in 1 .. coalesce(cardinality(v_pairs), 0) loop
    v_answers[v_pairs[i]] := v_values[i];
  end loop;
  if coalesce(cardinality(v_pairs), 0) < cardinality(p_jobs) then
    for v_n in 1 .. cardinality(p_jobs) loop
      if v_answers[v_n] is null then
        v_answers[v_n] := settle_late(p_jobs[v_n], p_tokens[v_n], p_outcomes[v_n], p_values[v_n]::jsonb);
      end if;
    end loop;
  end if;
  -- What waits again is due at once for whoever is free; a retry's time is seen when it comes.
  if v_pending then
    perform hint(j.namespace, 'pending:*') from job j where j.id = p_jobs[1];
  end if;
  return v_answers;
end
$$;
