-- Claims write no index of jobs: what a claim gave stands in one row of its own, and a job's row says what it is while nobody runs it
-- (standing) apart from whether it runs (token). Columns that are never null come first.
--
-- Carries every job over as it is: pending, running (under its token, its worker and its claim), held, ended. Both tables of jobs are
-- written anew, under locks that hold up every call meanwhile: some seconds for each million of jobs that are kept. Workers of the
-- release before go on with what they run, renew and settle; they are refused when they start.

-- A place of each lane below which nothing waited when somebody looked: for what is shown of lanes, not for claims.
create table lane_mark (
  lane bigint primary key,
  place bigint not null
);

alter table job rename to job_before;
alter table job_detail rename to job_detail_before;

-- A job that has not ended. Waiting jobs with a place stand in their lane; without one they wait for their time, or to be
-- taken alone. Narrow: a claim and an end move nothing wide, and the end deletes the row. Columns that are never null come first: to read
-- one behind a null takes PostgreSQL several times as long.
create table job (
  id uuid primary key,
  lane bigint not null,
  run_at timestamptz not null,
  attempt integer not null default 0,
  failures smallint not null default 0,
  lost smallint not null default 0,
  interruptions smallint not null default 0,
  max_attempts smallint not null,
  max_lost smallint not null,
  priority smallint not null default 0,
  -- What it is while nobody runs it: pending, blocked or held. A claim leaves it as it is.
  standing job_status not null default 'pending',
  on_worker_lost worker_lost_policy not null default 'retry',
  progressed boolean not null default false,
  -- Waits until no other job with its concurrency key runs.
  parked boolean not null default false,
  -- Runs, and has a concurrency key. A column of its own, so that a claim of any other job changes nothing that is indexed.
  holds_key boolean not null default false,
  place bigint,
  token uuid,
  worker uuid,
  started_at timestamptz,
  claim_number integer,
  cancel_requested_at timestamptz,
  run_id uuid,
  namespace text not null,
  concurrency_key text
) with (
  -- Room for the version that a claim makes of each row.
  fillfactor = 40,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_cost_delay = 0,
  autovacuum_analyze_scale_factor = 10
);
insert into job (id, lane, run_at, attempt, failures, lost, interruptions, max_attempts, max_lost, priority, standing, on_worker_lost,
                 progressed, parked, holds_key, place, token, worker, started_at, claim_number, cancel_requested_at, run_id, namespace,
                 concurrency_key)
select id, lane, run_at, attempt, failures, lost, interruptions, max_attempts, max_lost, priority,
       case when token is null then status else 'pending' end, on_worker_lost, progressed, parked,
       token is not null and concurrency_key is not null, place, token, worker, started_at, claim_number, cancel_requested_at, run_id,
       namespace, concurrency_key
from job_before;
drop table job_before;
alter index job_pkey1 rename to job_pkey;
create index job_claimable_idx on job (lane, place) where standing = 'pending' and place is not null;
comment on index job_claimable_idx is 'claim: the first jobs of a lane from a mark on';
create index job_waiting_idx on job (lane, (lost >= max_lost - 1), run_at, id)
  where standing = 'pending' and place is null and not parked;
comment on index job_waiting_idx is 'claim: jobs whose time has come, and those whose last chance is taken alone';
create index job_parked_idx on job (namespace, concurrency_key, priority desc, run_at, id) where parked;
comment on index job_parked_idx is 'free_keys: the job that is next for a concurrency key';
create index job_keyed_idx on job (namespace, concurrency_key) where holds_key;
comment on index job_keyed_idx is 'admit: whether a job with this concurrency key runs';
create index job_set_aside_idx on job (namespace, standing) where standing in ('held', 'blocked');
comment on index job_set_aside_idx is 'stats, lists: jobs that wait for a person or for other jobs';

-- What each claim gave, one row however many jobs: by it the running jobs of a worker are found, and no index of jobs is written when one
-- is claimed. Whether a job is still held is said by its own row; remaining counts those that are, and at 0 the row can go.
create table claimed (
  worker uuid not null,
  claim_number integer not null,
  remaining integer not null,
  jobs uuid[] not null,
  primary key (worker, claim_number)
) with (
  fillfactor = 50,
  -- The jobs of a larger claim are kept apart, so that counting down moves a narrow row.
  toast_tuple_target = 128,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 1000
);
alter table claimed alter column jobs set storage external;
-- No condition asks for a job in it, and an analysis would read and count them all.
alter table claimed alter column jobs set statistics 0;
insert into claimed (worker, claim_number, remaining, jobs)
select worker, claim_number, count(*), array_agg(id order by place, id) from job where token is not null group by worker, claim_number;

-- Every job that is kept: what is read once per attempt or less. Insert only, but for the reason of an end that no attempt records.
-- Retention deletes it, and all that is kept about the job with it. Locked while that happens, and by a retry.
create table job_detail (
  job_id uuid primary key,
  created_at timestamptz not null,
  run_at timestamptz not null,
  priority smallint not null,
  max_attempts smallint not null,
  max_lost smallint not null,
  on_worker_lost worker_lost_policy not null,
  input jsonb not null,
  options jsonb not null default '{}',
  namespace text not null,
  queue text not null,
  type text not null,
  cancel_requested_at timestamptz,
  end_reason jsonb,
  run_id uuid,
  -- machine:ID, worker:ID or label:X: only such a worker takes it.
  target text
);
insert into job_detail (job_id, created_at, run_at, priority, max_attempts, max_lost, on_worker_lost, input, options, namespace, queue, type,
                        cancel_requested_at, end_reason, run_id, target)
select job_id, created_at, run_at, priority, max_attempts, max_lost, on_worker_lost, input, options, namespace, queue, type,
       cancel_requested_at, end_reason, run_id, target
from job_detail_before;
drop table job_detail_before;
alter index job_detail_pkey1 rename to job_detail_pkey;
create index job_detail_run_idx on job_detail (run_id, job_id) where run_id is not null;
comment on index job_detail_run_idx is 'lists: the jobs of a run';

-- When every lane was last looked at from its beginning, and how long that took (mark_lanes).
alter table sweeper
  add column lanes_whole_at timestamptz not null default '-infinity',
  add column lanes_whole_ms bigint not null default 0;

-- When the last walk over all jobs of an ended run came to its end (cancel_rest).
alter table run add column rest_walked_at timestamptz;

-- Conditions ask for the first one, by event_job_idx; an analysis would read and count them all.
alter table event alter column job_ids set statistics 0;
alter table event alter column data set statistics 0;
