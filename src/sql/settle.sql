-- Ends attempts by their own outcome, a batch in one round trip. Returns one answer for each, in order:
--   completed | failed | retrying | released | cancelled | held   what the job is now
--   accepted before                                            the same outcome of the same token again
--   adopted                                                    late, but nobody had started the job again: it counts
--   lease_lost                                                 stale: nothing changed but the attempt's late_result
--   busy                                                       somebody else holds the job: nothing changed, say it again later
--
-- Whoever holds a job in an open transaction (a cancel that is not committed) is waited for half a second, and then its neighbours in the
-- batch are settled without it. What else somebody holds for longer (a concurrency key) is an error, 55P03, and nothing is changed.
--
-- p_outcomes: completed | failed | failed_finally | cancelled | released | interrupted. p_values: the result or the error.
-- p_delays: ms until a failed job is due again. Once cancel was asked the job ends cancelled, whatever the outcome; a
-- completion that came after is kept as late_result. The fence is in the row that is deleted or updated; a batch locks its rows in id
-- order first.
--
-- The settings, and the ids said once more beside each join, keep each statement on one walk of the primary key for the whole batch,
-- planned once, also where statistics say that the tables are empty: a look for each job costs a tenth more.
create or replace function settle(
  p_jobs uuid[],
  p_tokens uuid[],
  p_outcomes text[],
  p_values text[] default null,
  p_delays bigint[] default null
) returns text[]
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off
  set lock_timeout = '500ms'
as $$
declare
  v_answers text[] := array_fill(null::text, array[cardinality(p_jobs)]);
  v_locked boolean := not p_outcomes <@ '{completed,cancelled,failed_finally}';
  v_busy boolean := false;
  v_pairs bigint[];
  v_states text[];
  v_back uuid[];
  v_keys text[];
  v_runs uuid[];
  v_run_states text[];
  v_namespace text;
  v_workers uuid[];
  v_claims integer[];
  v_text text;
begin
  perform guard();
  foreach v_text in array coalesce(p_values, '{}') loop
    if octet_length(v_text) > value_bytes_max() then
      raise exception using errcode = '54000', message = format('a value is larger than %s bytes', value_bytes_max());
    end if;
  end loop;
  -- Jobs that all end need no lock before: the statement that deletes them, in id order too, waits and looks again. But an outcome that
  -- is late has to lock its job behind those, out of order: then all is undone, and locked first.
  loop
    begin
      if v_locked then
        perform 1 from job where id = any (p_jobs) order by id for no key update;
      end if;
      -- Jobs that end: the live row goes, the attempt says how.
      with outcome as materialized (
        select o.n, o.job_id, o.token, o.outcome, o.value::jsonb as value
        from unnest(p_jobs, p_tokens, p_outcomes, p_values) with ordinality as o (job_id, token, outcome, value, n)
        order by o.job_id
      ),
      settled as (
        delete from job j
        using outcome o
        where j.id = any (p_jobs) and j.id = o.job_id and j.token = o.token
          and (j.cancel_requested_at is not null
            or o.outcome in ('completed', 'cancelled', 'failed_finally')
            or (o.outcome = 'failed' and j.failures + 1 >= j.max_attempts))
        returning j.id, j.namespace, j.attempt, j.token, j.worker, j.claim_number, j.started_at, j.failures, j.interruptions, j.progressed,
                  j.concurrency_key, j.run_id,
                  -- Written out, here and below: to cast a text to an enumeration, or back, looks its name up each time.
                  case when j.cancel_requested_at is not null or o.outcome = 'cancelled' then 'cancelled'::job_status
                       when o.outcome = 'completed' then 'completed' else 'failed' end as status,
                  o.n, o.outcome, o.value
      ),
      ended as (
        insert into attempt (job_id, attempt, token, worker, started_at, ended_at, ended_as, job_status, failures, lost, interruptions,
                             value, end_reason, last_checkpoint, late_result)
        select s.id, s.attempt, s.token, s.worker, s.started_at, clock(),
               case s.status when 'completed' then 'completed'::attempt_end when 'failed' then 'failed' else 'cancelled' end, s.status,
               s.failures + case when s.status = 'failed' then 1 else 0 end, 0, s.interruptions,
               case when s.status = 'cancelled' and s.outcome = 'completed' then null else s.value end,
               case when s.status = 'cancelled' then '{"code": "cancelled"}'
                    when s.status = 'failed' then jsonb_build_object('code', s.value -> 'code', 'message', s.value -> 'message') end,
               case when s.progressed then (select c.value from checkpoint c where c.job_id = s.id and c.attempt = s.attempt) end,
               case when s.status = 'cancelled' and s.outcome = 'completed' then jsonb_build_object('outcome', s.outcome, 'value', s.value, 'at', iso(clock())) end
        from settled s
      ),
      recorded as (
        insert into event (at, namespace, kind, job_ids, worker)
        select clock(), s.namespace, 'job.' || s.status, array_agg(s.id order by s.n), s.worker
        from settled s
        group by s.namespace, s.status, s.worker
      )
      select array_agg(s.n order by s.n),
             array_agg(case s.status when 'completed' then 'completed' when 'failed' then 'failed' else 'cancelled' end order by s.n),
             array_agg(s.concurrency_key) filter (where s.concurrency_key is not null),
             min(s.namespace), array_agg(s.run_id) filter (where s.run_id is not null), array_agg(s.status::text) filter (where s.run_id is not null),
             array_agg(s.worker), array_agg(s.claim_number)
      into v_pairs, v_states, v_keys, v_namespace, v_runs, v_run_states, v_workers, v_claims
      from settled s;
      exit when v_locked or cardinality(v_pairs) = cardinality(p_jobs);
      raise exception using errcode = 'LH010';
    exception
      when sqlstate 'LH010' then
        v_locked := true;
      when lock_not_available then
        v_busy := true;
        exit;
    end;
  end loop;
  if v_busy then
    return settle_free(p_jobs, p_tokens, p_outcomes, p_values, p_delays);
  end if;
  if v_runs is not null then
    perform tally_ended(v_runs, v_run_states);
  end if;
  if v_keys is not null then
    perform free_keys(v_namespace, v_keys);
  end if;
  if cardinality(v_pairs) = cardinality(p_jobs) then
    perform let_go(v_workers, v_claims);
    return v_states;
  end if;
  for i in 1 .. coalesce(cardinality(v_pairs), 0) loop
    v_answers[v_pairs[i]] := v_states[i];
  end loop;

  -- Jobs that go back.
  with outcome as materialized (
    select o.n, o.job_id, o.token, o.outcome, o.value::jsonb as value, coalesce(o.delay_ms, 0) as delay_ms
    from unnest(p_jobs, p_tokens, p_outcomes, p_values, p_delays) with ordinality as o (job_id, token, outcome, value, delay_ms, n)
    order by o.job_id
  ),
  settled as (
    update job j
    set standing = case when o.outcome = 'interrupted' and j.interruptions + 1 >= interruptions_max() then 'held' else 'pending' end::job_status,
        failures = j.failures + case when o.outcome = 'failed' then 1 else 0 end,
        lost = case when o.outcome <> 'failed' and not j.progressed then j.lost else 0 end,
        interruptions = j.interruptions + case when o.outcome = 'interrupted' then 1 else 0 end,
        run_at = case when o.outcome = 'failed' then clock() + milliseconds(o.delay_ms) else least(j.run_at, clock()) end,
        lane = j.lane & ~1::bigint,
        place = null,
        token = null,
        holds_key = false
    from outcome o
    where j.id = any (p_jobs) and j.id = o.job_id and j.token = o.token
    returning j.id, j.namespace, j.attempt, o.token, j.worker, j.claim_number, j.started_at, j.standing as status, j.failures, j.lost, j.interruptions, j.progressed,
              j.concurrency_key, o.n, o.outcome, o.value
  ),
  ended as (
    insert into attempt (job_id, attempt, token, worker, started_at, ended_at, ended_as, job_status, failures, lost, interruptions,
                         value, end_reason, last_checkpoint)
    select s.id, s.attempt, s.token, s.worker, s.started_at, clock(), s.outcome::attempt_end, s.status, s.failures, s.lost, s.interruptions,
           s.value,
           case when s.outcome = 'failed' then jsonb_build_object('code', s.value -> 'code', 'message', s.value -> 'message')
                else coalesce(s.value, '{}') end,
           case when s.progressed then (select c.value from checkpoint c where c.job_id = s.id and c.attempt = s.attempt) end
    from settled s
  ),
  held as (
    update job_detail d
    set end_reason = jsonb_build_object('code', 'interrupted_too_often', 'message', format('it was interrupted %s times', interruptions_max()))
    from settled s
    where s.status = 'held' and d.job_id = any (p_jobs) and d.job_id = s.id
  ),
  recorded as (
    insert into event (at, namespace, kind, job_ids, worker)
    select clock(), s.namespace, 'job.' || case when s.status = 'held' then 'held' when s.outcome = 'failed' then 'retrying' else s.outcome end,
           array_agg(s.id order by s.n), s.worker
    from settled s
    group by s.namespace, 3, s.worker
  )
  select array_agg(s.n),
         array_agg(case when s.status = 'held' then 'held' when s.outcome = 'failed' then 'retrying' else 'released' end),
         array_agg(s.id) filter (where s.status = 'pending' and s.outcome <> 'failed'),
         array_agg(s.concurrency_key) filter (where s.concurrency_key is not null), min(s.namespace),
         v_workers || array_agg(s.worker), v_claims || array_agg(s.claim_number)
  into v_pairs, v_states, v_back, v_keys, v_namespace, v_workers, v_claims
  from settled s;
  for i in 1 .. coalesce(cardinality(v_pairs), 0) loop
    v_answers[v_pairs[i]] := v_states[i];
  end loop;

  -- Late outcomes. A job that has ended has no live row that was locked above, so its attempts are, in their order.
  if array_position(v_answers, null) is not null then
    perform 1 from attempt where job_id = any (p_jobs) and token = any (p_tokens) order by job_id, attempt for no key update;
  end if;
  for i in 1 .. cardinality(p_jobs) loop
    if v_answers[i] is null then
      v_answers[i] := settle_late(p_jobs[i], p_tokens[i], p_outcomes[i], p_values[i]::jsonb);
    end if;
  end loop;
  -- What waits again is due at once for whoever is free; a retry's time is seen when it comes.
  if v_pairs is not null then
    perform put_back(v_back);
    if v_keys is not null then
      perform free_keys(v_namespace, v_keys);
    end if;
    perform hint(j.namespace, 'pending:*') from job j where j.id = any (p_jobs) limit 1;
  end if;
  perform let_go(v_workers, v_claims);
  return v_answers;
end
$$;
