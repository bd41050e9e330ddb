-- The first schema: one narrow row per job that claims and settles touch, wide things apart, history append-only.
--
-- A job row IS its open attempt: it is `running` exactly while it carries a token, so "running", "has an open attempt"
-- and "has one owner" are one fact in one row and cannot disagree. When the attempt ends, a row of `attempt` records
-- it for ever. Whether a running job's lease holds is decided by the worker row that it points to.

create type job_status as enum ('pending', 'blocked', 'running', 'completed', 'failed', 'cancelled', 'held');
create type attempt_end as enum ('completed', 'failed', 'cancelled', 'lost', 'released', 'interrupted');
create type worker_lost_policy as enum ('retry', 'fail', 'hold');

-- One row. Which copy of which database this is; a restored copy that is confirmed gets a new id.
create table database_identity (
  single boolean primary key default true check (single),
  id uuid not null default gen_random_uuid()
);
insert into database_identity default values;

-- One row. The evidence that the database was writable, and since when without a gap.
create table tick (
  single boolean primary key default true check (single),
  at timestamptz not null,
  writable_since timestamptz not null,
  writable_total_ms bigint not null default 0
) with (fillfactor = 10);
insert into tick (at, writable_since) values (statement_timestamp(), statement_timestamp());

create sequence job_sequence minvalue 0 maxvalue 16777215 start 0 cycle cache 1;

create table job (
  id uuid primary key,
  namespace text not null,
  queue text not null,
  type text not null,
  status job_status not null default 'pending',
  priority smallint not null default 0,
  run_at timestamptz not null,
  attempt integer not null default 0,
  failures smallint not null default 0,
  lost smallint not null default 0,
  interruptions smallint not null default 0,
  max_attempts smallint not null,
  max_lost smallint not null,
  on_worker_lost worker_lost_policy not null default 'retry',
  token uuid,
  claim_number integer,
  worker uuid,
  started_at timestamptz,
  cancel_requested_at timestamptz,
  finished_at timestamptz,
  constraint job_running_has_token check ((status = 'running') = (token is not null)),
  constraint job_running_has_worker check (status <> 'running' or (worker is not null and started_at is not null)),
  constraint job_ended_has_time check ((status in ('completed', 'failed', 'cancelled')) = (finished_at is not null)),
  constraint job_budgets_in_range check (max_attempts >= 1 and max_lost >= 1 and failures >= 0 and lost >= 0)
) with (
  fillfactor = 80,
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_cost_delay = 0
);
create index job_claimable_idx on job (namespace, queue, type, priority desc, run_at, id) where status = 'pending';
comment on index job_claimable_idx is 'claim: the next due job of a queue and type';
create index job_last_chance_idx on job (namespace, queue, type)
  where status = 'pending' and lost >= max_lost - 1;
comment on index job_last_chance_idx is 'claim: jobs whose last chance is taken alone';
create index job_running_idx on job (namespace, worker) where status = 'running';
comment on index job_running_idx is 'renew, sweep, view: what a worker holds';
create index job_running_last_chance_idx on job (namespace, worker) where status = 'running' and lost >= max_lost - 1;
comment on index job_running_last_chance_idx is 'claim: whether a worker holds a job whose last chance is taken alone';
create index job_ended_idx on job (namespace, status, finished_at) where finished_at is not null;
comment on index job_ended_idx is 'stats, lists and retention: ended jobs by time';
create index job_held_idx on job (namespace) where status = 'held';
comment on index job_held_idx is 'stats, lists: jobs that wait for a person';

-- What is read once per attempt or less: insert only, but for the reason of an end that no attempt records.
create table job_detail (
  job_id uuid primary key,
  input jsonb not null,
  options jsonb not null default '{}',
  created_at timestamptz not null,
  end_reason jsonb
);

-- Enqueue keys: the same key in a namespace is the same job.
create table job_key (
  namespace text not null,
  key text not null,
  job_id uuid not null,
  primary key (namespace, key)
);

-- The last checkpoint and the last progress of a job, each with the attempt that wrote it.
create table checkpoint (
  job_id uuid primary key,
  attempt integer not null,
  value jsonb not null,
  at timestamptz not null
) with (fillfactor = 70);

create table progress (
  job_id uuid primary key,
  attempt integer not null,
  done double precision not null,
  total double precision,
  message text,
  at timestamptz not null
) with (fillfactor = 70);

-- History: one row per ended attempt, insert only, but for what arrives late.
create table attempt (
  job_id uuid not null,
  attempt integer not null,
  token uuid not null,
  worker uuid not null,
  started_at timestamptz not null,
  ended_at timestamptz not null,
  ended_as attempt_end not null,
  value jsonb,
  end_reason jsonb,
  last_checkpoint jsonb,
  late_result jsonb,
  primary key (job_id, attempt)
);

create table attempt_log (
  job_id uuid not null,
  attempt integer not null,
  line bigint generated always as identity,
  at timestamptz not null,
  level text not null,
  message text not null,
  fields jsonb,
  primary key (job_id, attempt, line)
);

-- Machines outlive their workers. The two times switch the layers of early detection off where they were wrong.
create table machine (
  namespace text not null,
  id text not null,
  hostname text not null,
  connection_false_alarm_at timestamptz,
  witness_contradicted_at timestamptz,
  primary key (namespace, id)
);

-- One narrow row per worker incarnation. A renewal updates it in place (HOT: no changing column is indexed).
create table worker (
  incarnation uuid primary key,
  namespace text not null,
  machine_id text not null,
  epoch text not null,
  lease_ms integer not null,
  renew_ms integer not null,
  idle_beat_ms integer not null,
  beat_ms integer not null,
  span_ms integer not null,
  until timestamptz not null,
  seen_at timestamptz not null,
  writable_mark_ms bigint not null,
  send_number bigint not null default 0,
  claim_number integer not null default 0,
  last_claim uuid,
  backend_pid integer,
  connection_missing_since timestamptz,
  draining_at timestamptz,
  drain_requested_at timestamptz,
  alone_for uuid,
  loop_lag_ms integer not null default 0,
  spool_depth integer not null default 0,
  stuck text,
  ended_at timestamptz,
  end_charge text,
  end_layer smallint,
  constraint worker_end_is_whole check ((ended_at is null) = (end_charge is null)),
  constraint worker_stuck_known check (stuck in ('claims', 'event_loop')),
  constraint worker_end_charge_known check (end_charge in ('lost', 'uncharged', 'interrupted', 'released'))
) with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index worker_live_idx on worker (namespace) where ended_at is null;
comment on index worker_live_idx is 'sweep, view: workers that have not ended';

create table worker_detail (
  incarnation uuid primary key,
  id text not null unique,
  hostname text not null,
  pid integer not null,
  boot_id text,
  pid_namespace text,
  process_started text,
  parent_pid integer,
  kind text not null,
  version text not null,
  command text,
  concurrency integer not null,
  queues text[] not null,
  types text[] not null,
  labels text[] not null default '{}',
  direct boolean not null default false,
  registered_at timestamptz not null,
  end_reason jsonb
);

-- Who sweeps a namespace now. A row with a database-clock lease, not a session lock; two sweepers only waste work.
create table sweeper (
  namespace text primary key,
  leader uuid,
  leader_at timestamptz not null default '-infinity',
  deputy uuid,
  deputy_at timestamptz not null default '-infinity'
) with (fillfactor = 20);

-- What can't be read from jobs and attempts, and the feed of typed events. Hot kinds write one row per batch.
create table event (
  id bigint generated always as identity primary key,
  transaction_id xid8 not null default pg_current_xact_id(),
  at timestamptz not null,
  namespace text not null,
  kind text not null,
  job_ids uuid[] not null default '{}',
  worker uuid,
  data jsonb
);
create index event_feed_idx on event (namespace, transaction_id, id);
comment on index event_feed_idx is 'read_events: the feed in commit-safe order';
create index event_job_idx on event ((job_ids[1])) where kind not in ('job.completed', 'job.picked_up');
comment on index event_job_idx is 'job_events: what happened to one job';
create index attempt_lost_idx on attempt (worker) where ended_as = 'lost';
comment on index attempt_lost_idx is 'heard_again: what early evidence took from a worker';
