-- The first schema: one narrow row per job that has not ended, which claims and settles touch; wide things apart; history append-only.
--
-- No check constraints on the hot tables: PostgreSQL reads their expressions anew for each statement, which doubled the cost of a
-- renewal (measured on 18: 140 µs against 235 µs). Each rule is a row of invariants() instead, looked at after every test.
--
-- A job row IS its open attempt: it is `running` exactly while it carries a token, so "running", "has an open attempt"
-- and "has one owner" are one fact in one row and cannot disagree. When the attempt ends, a row of `attempt` records
-- it, and when the job ends its live row is deleted. Whether a running job's lease holds is decided by the worker row
-- that it points to.

create type job_status as enum ('pending', 'blocked', 'running', 'completed', 'failed', 'cancelled', 'held');
create type attempt_end as enum ('completed', 'failed', 'cancelled', 'lost', 'released', 'interrupted');
create type worker_lost_policy as enum ('retry', 'fail', 'hold');
create type run_status as enum ('active', 'completed', 'error', 'archived');
create type offline_policy as enum ('wait', 'fail', 'any');

-- One row. Which copy of which database this is; a restored copy that is confirmed gets a new id. The other columns are facts of
-- the server that it was made or confirmed on: a copy carries them along and does not fit them (database_copied).
create table database_identity (
  single boolean primary key default true check (single),
  id uuid not null default gen_random_uuid(),
  -- Null where the server does not tell.
  system_identifier text,
  -- Null until the end of the first migration.
  database_oid oid,
  confirmed_at timestamptz
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

-- Positions in the queue, drawn once per job and turn. CACHE stays 1 and whoever draws has a transaction id already: the
-- argument why a claim that starts at a mark skips nothing needs both (docs/architecture.md).
create sequence job_place cache 1;

-- What a claim filters and orders by. The id is a hash of the rest (lane_of), its lowest bit says front. Without a unique
-- constraint on purpose: enqueuers would wait for each other's open transactions, and deadlock. A row twice is harmless.
-- The jobs of a run, and those aimed at a target, have lanes of their own: a claim passes over whole lanes, never over jobs.
create table lane (
  id bigint not null,
  namespace text not null,
  queue text not null,
  type text not null,
  priority smallint not null,
  run_id uuid,
  target text
);
create index lane_idx on lane (namespace, queue, type);
comment on index lane_idx is 'claim: the lanes of a queue and type';
create index lane_id_idx on lane (id);
comment on index lane_id_idx is 'enqueue: whether a lane is known';
create index lane_run_idx on lane (run_id) where run_id is not null;
comment on index lane_run_idx is 'end of a run: what of it waits, and lanes that can go';

-- A job that has not ended. Waiting jobs with a place stand in their lane; without one they wait for their time, or to be
-- taken alone. Narrow: a claim and an end move nothing wide, and the end deletes the row.
create table job (
  id uuid primary key,
  token uuid,
  worker uuid,
  lane bigint not null,
  place bigint,
  run_at timestamptz not null,
  started_at timestamptz,
  cancel_requested_at timestamptz,
  attempt integer not null default 0,
  claim_number integer,
  failures smallint not null default 0,
  lost smallint not null default 0,
  interruptions smallint not null default 0,
  max_attempts smallint not null,
  max_lost smallint not null,
  priority smallint not null default 0,
  status job_status not null default 'pending',
  on_worker_lost worker_lost_policy not null default 'retry',
  progressed boolean not null default false,
  -- Waits until no other job with its concurrency key runs.
  parked boolean not null default false,
  namespace text not null,
  concurrency_key text,
  run_id uuid
) with (
  fillfactor = 80,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_cost_delay = 0,
  autovacuum_analyze_scale_factor = 10
);
create index job_claimable_idx on job (lane, place) where status = 'pending' and place is not null;
comment on index job_claimable_idx is 'claim: the first jobs of a lane from a mark on';
create index job_waiting_idx on job (lane, (lost >= max_lost - 1), run_at, id)
  where status = 'pending' and place is null and not parked;
comment on index job_waiting_idx is 'claim: jobs whose time has come, and those whose last chance is taken alone';
create index job_running_idx on job (worker, claim_number) where status = 'running';
comment on index job_running_idx is 'renew, sweep, view: what a worker holds, from its oldest open claim on';
create index job_parked_idx on job (namespace, concurrency_key, priority desc, run_at, id) where parked;
comment on index job_parked_idx is 'free_keys: the job that is next for a concurrency key';
create index job_keyed_idx on job (namespace, concurrency_key) where status = 'running' and concurrency_key is not null;
comment on index job_keyed_idx is 'admit: whether a job with this concurrency key runs';
create index job_set_aside_idx on job (namespace, status) where status in ('held', 'blocked');
comment on index job_set_aside_idx is 'stats, lists: jobs that wait for a person or for other jobs';

-- Every job that is kept: what is read once per attempt or less. Insert only, but for the reason of an end that no attempt records.
-- Retention deletes it, and all that is kept about the job with it. Locked while that happens, and by a retry.
create table job_detail (
  job_id uuid primary key,
  created_at timestamptz not null,
  run_at timestamptz not null,
  cancel_requested_at timestamptz,
  priority smallint not null,
  max_attempts smallint not null,
  max_lost smallint not null,
  on_worker_lost worker_lost_policy not null,
  namespace text not null,
  queue text not null,
  type text not null,
  input jsonb not null,
  options jsonb not null default '{}',
  end_reason jsonb,
  run_id uuid,
  -- machine:ID, worker:ID or label:X: only such a worker takes it.
  target text
);
create index job_detail_run_idx on job_detail (run_id, job_id) where run_id is not null;
comment on index job_detail_run_idx is 'lists: the jobs of a run';

-- Named batches of jobs. The sums hold what was folded in of run_tally; the two together are exact at any moment.
create table run (
  id uuid primary key,
  namespace text not null,
  name text not null,
  status run_status not null default 'active',
  stage text,
  criteria jsonb not null,
  target bigint,
  max_failed bigint,
  budget_tokens bigint,
  budget_usd numeric,
  -- How long after the last job was put in an end of all jobs still does not mean that the run is over.
  fill_grace_ms bigint not null,
  -- Whoever fills it has said that nothing more will come.
  filled boolean not null default false,
  -- What its end does with the jobs that are left.
  keeps_rest boolean not null,
  created_at timestamptz not null,
  finished_at timestamptz,
  end_reason jsonb,
  jobs bigint not null default 0,
  completed bigint not null default 0,
  failed bigint not null default 0,
  cancelled bigint not null default 0,
  tokens bigint not null default 0,
  usd numeric not null default 0,
  last_filled_at timestamptz,
  -- How far the cancelling of what is left has come, by job id; null: it begins anew.
  rest_from uuid,
  -- When it had ended, held no job any more, and its lanes were gone.
  emptied_at timestamptz
) with (fillfactor = 50);
create index run_open_idx on run (namespace) where emptied_at is null;
comment on index run_open_idx is 'sweep: runs that go on, or have ended and still hold jobs';

-- What changed in a run, one row for each batch that changed it: insert only, so that nobody who enqueues, settles or reports a cost
-- waits for another. Folded into the run by whoever judges it.
create table run_tally (
  run_id uuid not null,
  jobs bigint not null default 0,
  completed bigint not null default 0,
  failed bigint not null default 0,
  cancelled bigint not null default 0,
  tokens bigint not null default 0,
  usd numeric not null default 0,
  -- When jobs were put in.
  filled_at timestamptz
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index run_tally_idx on run_tally (run_id);
comment on index run_tally_idx is 'runs: what has not been folded in';

-- What an attempt has cost so far. The worker sends sums, so that the same report again changes nothing.
create table attempt_cost (
  job_id uuid not null,
  attempt integer not null,
  tokens bigint not null,
  usd numeric not null,
  primary key (job_id, attempt)
) with (fillfactor = 70);

-- Aimed jobs that do not wait for their target for ever, while they have not ended.
create table aim (
  job_id uuid primary key,
  namespace text not null,
  target text not null,
  if_offline offline_policy not null,
  due_at timestamptz not null,
  deadline timestamptz
);
create index aim_target_idx on aim (namespace, target) where if_offline <> 'wait';
comment on index aim_target_idx is 'sweep: jobs whose target may be offline';
create index aim_deadline_idx on aim (namespace, deadline) where deadline is not null;
comment on index aim_deadline_idx is 'sweep: jobs that have waited for their target too long';

-- How a job ended whose end is not that of its last attempt: cancelled while it waited, or a late result that was adopted.
create table job_end (
  job_id uuid primary key,
  status job_status not null,
  finished_at timestamptz not null,
  failures smallint not null,
  lost smallint not null,
  interruptions smallint not null
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
  -- What the job became by it, and its budgets then. A job without a live row ended as its last attempt says, or as job_end does.
  job_status job_status not null,
  failures smallint not null,
  lost smallint not null,
  interruptions smallint not null,
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
  -- Its workers take no new jobs, and neither do those that start later.
  drain_requested_at timestamptz,
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
  -- The job whose last chance it takes or waits for, alone.
  alone_for uuid,
  -- No running job of this worker has a lower claim number: what it holds is found without walking over what it held.
  low_claim integer not null default 1,
  -- False only when it certainly holds nothing.
  holds boolean not null default false,
  loop_lag_ms integer not null default 0,
  spool_depth integer not null default 0,
  spool_age_ms bigint not null default 0,
  memory_bytes bigint,
  -- Its wall clock less the database's. For people alone: no decision reads it.
  clock_ahead_ms bigint,
  stuck text,
  ended_at timestamptz,
  end_charge text,
  end_layer smallint,
  -- When all that an ended worker held had gone back.
  emptied_at timestamptz
) with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index worker_live_idx on worker (namespace) where ended_at is null;
comment on index worker_live_idx is 'sweep, view: workers that have not ended';
create index worker_gone_idx on worker (namespace) where ended_at is not null and emptied_at is null;
comment on index worker_gone_idx is 'sweep: workers that have ended and may still hold jobs';

create table worker_detail (
  incarnation uuid primary key,
  namespace text not null,
  id text not null unique,
  hostname text not null,
  pid integer not null,
  boot_id text,
  pid_namespace text,
  process_started text,
  process_started_at timestamptz,
  parent_pid integer,
  kind text not null,
  version text not null,
  command text,
  concurrency integer not null,
  queues text[] not null,
  types text[] not null,
  labels text[] not null default '{}',
  direct boolean not null default false,
  -- Whether it means to LISTEN.
  listens boolean not null default false,
  registered_at timestamptz not null,
  -- Again here, where an index on it costs renewals nothing.
  ended_at timestamptz,
  end_reason jsonb,
  -- The run whose jobs alone it takes.
  run_id uuid
);
create index worker_detail_run_idx on worker_detail (run_id) where run_id is not null;
comment on index worker_detail_run_idx is 'end of a run: the workers that are aimed at it';
create index worker_detail_ended_idx on worker_detail (namespace, ended_at) where ended_at is not null;
comment on index worker_detail_ended_idx is 'crash_history, alert_conditions: workers that ended lately';

-- Who sweeps a namespace now. A row with a database-clock lease, not a session lock; two sweepers only waste work.
create table sweeper (
  namespace text primary key,
  leader uuid,
  leader_at timestamptz not null default '-infinity',
  deputy uuid,
  deputy_at timestamptz not null default '-infinity',
  -- When running jobs were last compared with workers one by one: a restored copy may lack a worker's row.
  compared_at timestamptz not null default '-infinity',
  -- When the rules of alerts were last compared with what is.
  judged_at timestamptz not null default '-infinity'
) with (fillfactor = 20);

-- Who keeps the worker processes of a name on a machine, and what became of them. A row with a database-clock lease, not a session
-- lock; what it counts stays when another takes the place.
create table supervisor (
  namespace text not null,
  machine_id text not null,
  name text not null,
  incarnation uuid not null,
  hostname text not null,
  pid integer not null,
  boot_id text,
  pid_namespace text,
  process_started text,
  version text not null,
  command text not null,
  processes_min integer not null,
  processes_max integer not null,
  lease_ms integer not null,
  started_at timestamptz not null,
  seen_at timestamptz not null,
  until timestamptz not null,
  stopped_at timestamptz,
  -- Processes that ended without being asked to and were started anew, by all who ever had this place.
  restarts bigint not null default 0,
  last_exit jsonb,
  primary key (namespace, machine_id, name)
) with (fillfactor = 50);

-- How long a namespace keeps what has ended, and how far dropping has come. A namespace without a row has the defaults.
create table retention (
  namespace text primary key,
  -- How long after its end, and how many of the newest; null: no limit.
  keep_ms bigint,
  keep_count bigint,
  -- Whether a job has to pass through an archive hook before.
  archive boolean not null default false,
  -- When somebody may begin the next pass. A pass that is under way moves it on before it lapses.
  due_at timestamptz not null default '-infinity',
  passed_at timestamptz,
  dropped bigint not null default 0,
  -- Why the last pass did not come to its end.
  problem text,
  -- The last event that was dropped: a reader of the feed that stands before it has missed some.
  events_transaction xid8,
  events_id bigint
) with (fillfactor = 50);

-- What can't be read from jobs and attempts, and the feed of typed events. Hot kinds write one row per batch.
create table event (
  id bigint not null generated always as identity,
  transaction_id xid8 not null default pg_current_xact_id(),
  at timestamptz not null,
  namespace text not null,
  kind text not null,
  job_ids uuid[] not null default '{}',
  worker uuid,
  data jsonb
);
-- Ids do not compress, and trying to costs more than the bytes.
alter table event alter column job_ids set storage external;
create index event_feed_idx on event (namespace, transaction_id, id);
comment on index event_feed_idx is 'read_events: the feed in commit-safe order';
create index event_job_idx on event ((job_ids[1])) where kind not in ('job.completed', 'job.picked_up');
comment on index event_job_idx is 'job_events: what happened to one job';
create index attempt_lost_idx on attempt (worker) where ended_as = 'lost';
comment on index attempt_lost_idx is 'heard_again: what early evidence took from a worker';

-- What somebody should look at: one row from when a rule's condition is found until it is over. Announced (as event, log line and
-- webhooks) by the sweep that finds it so.
create table alert (
  id uuid primary key default gen_random_uuid(),
  namespace text not null,
  rule text not null,
  -- What it is about: a machine, a type of job, a queue, a worker. One open alert for each rule and subject.
  subject text not null,
  message text not null,
  data jsonb not null,
  raised_at timestamptz not null,
  announced_at timestamptz,
  acknowledged_at timestamptz,
  acknowledged_by text,
  resolved_at timestamptz
);
create unique index alert_open_idx on alert (namespace, rule, subject) where resolved_at is null;
comment on index alert_open_idx is 'judge_alerts: one open alert for each rule and subject';
create index alert_resolved_idx on alert (namespace, resolved_at) where resolved_at is not null;
comment on index alert_resolved_idx is 'list_alerts, judge_alerts: the newest that are over, the oldest to prune';

-- Where a namespace's thresholds differ from the defaults (alert_settings).
create table alert_rule (
  namespace text not null,
  rule text not null,
  enabled boolean,
  at_least integer,
  within_ms bigint,
  for_ms bigint,
  primary key (namespace, rule)
);

-- Who is told of alerts. The secret signs, inside the database, and leaves it once: as the answer of add_webhook.
create table webhook (
  id uuid primary key default gen_random_uuid(),
  namespace text not null,
  url text not null,
  secret text not null,
  -- Null: all rules.
  rules text[],
  allow_private boolean not null default false,
  created_at timestamptz not null,
  unique (namespace, url)
);

-- What a webhook is owed: sent until it is answered with 2xx or has been tried for a day. Whoever takes one for a try gets a fresh
-- token and puts due_at off, so that nobody else sends it meanwhile; only that token may say what became of the try.
create table webhook_delivery (
  id uuid primary key default gen_random_uuid(),
  webhook_id uuid not null references webhook on delete cascade,
  namespace text not null,
  kind text not null,
  body text not null,
  created_at timestamptz not null,
  due_at timestamptz not null,
  tries integer not null default 0,
  token uuid,
  last_status integer,
  last_error text,
  delivered_at timestamptz,
  given_up_at timestamptz
);
create index webhook_delivery_due_idx on webhook_delivery (namespace, due_at) where delivered_at is null and given_up_at is null;
comment on index webhook_delivery_due_idx is 'sweep, take_deliveries: what is to be sent, and when';
create index webhook_delivery_webhook_idx on webhook_delivery (webhook_id, created_at);
comment on index webhook_delivery_webhook_idx is 'list_webhooks, remove_webhook: the deliveries of one webhook';
