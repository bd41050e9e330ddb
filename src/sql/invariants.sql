-- What must never be found, as rows; empty when all is well. A job that is not terminal and can neither be claimed now or later,
-- nor is held by a person, nor has an owner whose lease holds or whose recovery is due, is stuck: there is no such job.
create or replace function invariants() returns table (rule text, job_id uuid)
language sql stable security definer set search_path from current
as $$
  select 'running has a worker row, or a sweep is due', j.id
  from job j
  left join worker w on w.incarnation = j.worker
  where j.token is not null and w.incarnation is null and not exists (select from tick where at > clock() - milliseconds(gap_ms()))
  union all
  select 'running has a token and no ended attempt of its number', j.id
  from job j
  join attempt a on a.job_id = j.id and a.attempt = j.attempt
  where j.token is not null
  union all
  select 'a job holds its concurrency key exactly while it runs', j.id
  from job j
  where j.holds_key <> (j.token is not null and j.concurrency_key is not null)
  union all
  select 'what runs has a worker and a start', j.id
  from job j
  where j.token is not null and (j.worker is null or j.started_at is null or j.claim_number is null)
  union all
  select 'an end of a worker is whole', null from worker w where (w.ended_at is null) <> (w.end_charge is null)
  union all
  select 'what runs is found by its worker''s oldest open claim', j.id
  from job j
  join worker w on w.incarnation = j.worker
  where j.token is not null and (j.claim_number < w.low_claim or not w.holds or w.emptied_at is not null)
  union all
  select 'what runs is found by what its claim gave, once', j.id
  from job j
  where j.token is not null and (select count(*) from held_job h where h.id = j.id and h.holder = j.worker) <> 1
  union all
  select 'a claim of a live worker counts what is left of it', null
  from claimed c
  join worker w on w.incarnation = c.worker
  where w.ended_at is null and c.remaining <> (
    select count(*) from job j where j.id = any (c.jobs) and j.token is not null and j.worker = c.worker and j.claim_number = c.claim_number)
  union all
  select 'a worker that holds nothing any more has no claims', null
  from claimed c
  join worker w on w.incarnation = c.worker
  where w.emptied_at is not null or c.claim_number < w.low_claim
  union all
  select 'a live row has not ended, and has a job', j.id
  from job j
  left join job_detail d on d.job_id = j.id
  where d.job_id is null or j.standing not in ('pending', 'blocked', 'held') or exists (select from job_end e where e.job_id = j.id)
  union all
  select 'nothing is blocked: no job waits for another yet, so nothing would unblock it', j.id
  from job j
  where j.standing = 'blocked'
  union all
  -- With a place too: it may have to go back and wait for its time again.
  select 'what has not ended is due at some time', j.id
  from job j
  where not isfinite(j.run_at)
  union all
  select 'what is parked waits, without a place, for a concurrency key', j.id
  from job j
  where j.parked and (j.concurrency_key is null or j.standing <> 'pending' or j.token is not null or j.place is not null)
  union all
  -- The end that frees a key hands it on, but for a job that is in somebody's hand just then; that one is for the next sweep, which may
  -- have begun before the end was committed. A waiting job that ends leaves it to the sweep too.
  select 'what is parked waits for another job of its key, or a sweep is due', j.id
  from (
    select namespace, concurrency_key, (array_agg(id))[1] as id from job
    where concurrency_key is not null
    group by namespace, concurrency_key
    having bool_and(parked)
  ) as j
  cross join lateral (
    -- Offset 0: looked up for each of these keys, which are few or none.
    select greatest(max(a.ended_at), max(e.finished_at), '-infinity') as at
    from job_detail d
    left join attempt a on a.job_id = d.job_id
    left join job_end e on e.job_id = d.job_id
    where d.namespace = j.namespace and d.options ->> 'concurrencyKey' = j.concurrency_key
    offset 0
  ) as freed
  where exists (
    select from sweeper s
    where s.namespace = j.namespace and greatest(s.leader_at, s.compared_at) between freed.at + milliseconds(gap_ms()) and clock()
  )
  union all
  select 'what waits stands in a lane that claims know', j.id
  from job j
  where j.standing = 'pending' and not exists (select from lane l where l.id = j.lane)
  union all
  select 'a last chance has no place among others', j.id
  from job j
  where j.standing = 'pending' and j.token is null and j.place is not null and j.lost >= j.max_lost - 1
  union all
  select 'every job waits, runs, is set aside or has ended', s.id from job_stored s where s.status is null
  union all
  select 'every claim left one attempt', s.id
  from job_stored s
  where (select count(*) from attempt a where a.job_id = s.id) <> s.attempt - case when s.status = 'running' then 1 else 0 end
  union all
  select 'a job that ended by attempts ended as its last one says', s.id
  from job_stored s
  join attempt a on a.job_id = s.id and a.attempt = s.attempt
  where s.status = 'completed' and a.ended_as <> 'completed'
  union all
  select 'a job waits in a lane of its own run and target', j.id
  from job j
  join job_detail d on d.job_id = j.id
  where j.run_id is distinct from d.run_id
    or (j.standing = 'pending' and j.lane & ~1::bigint <> lane_of(d.namespace, d.queue, d.type, d.priority, d.run_id, d.target))
    or exists (select from lane l where l.id = j.lane and (l.run_id is distinct from d.run_id or l.target is distinct from d.target))
  union all
  select 'a run that goes on has no end, and one that ended has a reason', r.id
  from run r
  where (r.status = 'active') <> (r.finished_at is null) or (r.finished_at is null) <> (r.end_reason is null)
    or (r.emptied_at is not null and r.status = 'active')
  union all
  select 'a run counts its jobs exactly', t.id
  from run_truth t
  left join lateral (
    select count(*) as jobs, count(*) filter (where s.status = 'completed') as completed, count(*) filter (where s.status = 'failed') as failed,
           count(*) filter (where s.status = 'cancelled') as cancelled
    from job_stored s where s.run_id = t.id
  ) as c on true
  where (t.jobs, t.completed, t.failed, t.cancelled) is distinct from (c.jobs, c.completed, c.failed, c.cancelled)
    -- What was dropped stays counted.
    and not exists (select from retention where namespace = t.namespace and dropped > 0)
  union all
  select 'a run costs what its attempts do', t.id
  from run_truth t
  left join lateral (
    select coalesce(sum(a.tokens), 0) as tokens, coalesce(sum(a.usd), 0) as usd
    from attempt_cost a join job_detail d on d.job_id = a.job_id where d.run_id = t.id
  ) as c on true
  where (t.tokens <> c.tokens or t.usd <> c.usd)
    and not exists (select from retention where namespace = t.namespace and dropped > 0)
  union all
  select 'a run that is through holds no job and no lane', r.id
  from run r
  where r.emptied_at is not null
    and (exists (select from job j where j.run_id = r.id) or exists (select from lane l where l.run_id = r.id))
  union all
  select 'only aimed jobs have a deadline for their target', a.job_id
  from aim a
  join job_detail d on d.job_id = a.job_id
  where a.target is distinct from d.target
  union all
  select 'what is kept about a job has the job', k.job_id
  from (
    select job_id from attempt
    union all select job_id from attempt_log
    union all select job_id from attempt_cost
    union all select job_id from checkpoint
    union all select job_id from progress
    union all select job_id from job_end
    union all select job_id from job_key
  ) as k
  where not exists (select from job_detail d where d.job_id = k.job_id)
  union all
  select 'a key leads to the job that has it', k.job_id
  from job_key k
  join job_detail d on d.job_id = k.job_id
  where d.namespace <> k.namespace or d.options ->> 'key' is distinct from k.key
  union all
  select 'the last event that was dropped is one position', null
  from retention r
  where (r.events_transaction is null) <> (r.events_id is null)
$$;
