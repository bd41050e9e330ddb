-- What the migrations and functions make of an empty database. Written by: npm run schema

create type attempt_end as enum ('completed', 'failed', 'cancelled', 'lost', 'released', 'interrupted');
create type job_status as enum ('pending', 'blocked', 'running', 'completed', 'failed', 'cancelled', 'held');
create type offline_policy as enum ('wait', 'fail', 'any');
create type run_status as enum ('active', 'completed', 'error', 'archived');
create type worker_lost_policy as enum ('retry', 'fail', 'hold');

create sequence job_place minvalue 1 maxvalue 9223372036854775807 cache 1;

create table aim (
  job_id uuid not null,
  namespace text not null,
  target text not null,
  if_offline offline_policy not null,
  due_at timestamp with time zone not null,
  deadline timestamp with time zone
);
create table alert (
  id uuid not null default gen_random_uuid(),
  namespace text not null,
  rule text not null,
  subject text not null,
  message text not null,
  data jsonb not null,
  raised_at timestamp with time zone not null,
  announced_at timestamp with time zone,
  acknowledged_at timestamp with time zone,
  acknowledged_by text,
  resolved_at timestamp with time zone
);
create table alert_rule (
  namespace text not null,
  rule text not null,
  enabled boolean,
  at_least integer,
  within_ms bigint,
  for_ms bigint
);
create table attempt (
  job_id uuid not null,
  attempt integer not null,
  token uuid not null,
  worker uuid not null,
  started_at timestamp with time zone not null,
  ended_at timestamp with time zone not null,
  ended_as attempt_end not null,
  job_status job_status not null,
  failures smallint not null,
  lost smallint not null,
  interruptions smallint not null,
  value jsonb,
  end_reason jsonb,
  last_checkpoint jsonb,
  late_result jsonb
);
create table attempt_cost (
  job_id uuid not null,
  attempt integer not null,
  tokens bigint not null,
  usd numeric not null
) with (fillfactor=70);
create table attempt_log (
  job_id uuid not null,
  attempt integer not null,
  line bigint not null generated always as identity,
  at timestamp with time zone not null,
  level text not null,
  message text not null,
  fields jsonb
);
create table checkpoint (
  job_id uuid not null,
  attempt integer not null,
  value jsonb not null,
  at timestamp with time zone not null
) with (fillfactor=70);
create table claimed (
  worker uuid not null,
  claim_number integer not null,
  remaining integer not null,
  jobs uuid[] not null
) with (fillfactor=50, toast_tuple_target=128, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=1000);
create table database_identity (
  single boolean not null default true,
  id uuid not null default gen_random_uuid(),
  system_identifier text,
  database_oid oid,
  confirmed_at timestamp with time zone
);
create table event (
  id bigint not null generated always as identity,
  transaction_id xid8 not null default pg_current_xact_id(),
  at timestamp with time zone not null,
  namespace text not null,
  kind text not null,
  job_ids uuid[] not null default '{}'::uuid[],
  worker uuid,
  data jsonb
);
create table installed (
  single boolean not null default true,
  functions text not null,
  program text not null
);
create table job (
  id uuid not null,
  lane bigint not null,
  run_at timestamp with time zone not null,
  attempt integer not null default 0,
  failures smallint not null default 0,
  lost smallint not null default 0,
  interruptions smallint not null default 0,
  max_attempts smallint not null,
  max_lost smallint not null,
  priority smallint not null default 0,
  standing job_status not null default 'pending'::job_status,
  on_worker_lost worker_lost_policy not null default 'retry'::worker_lost_policy,
  progressed boolean not null default false,
  parked boolean not null default false,
  holds_key boolean not null default false,
  place bigint,
  token uuid,
  worker uuid,
  started_at timestamp with time zone,
  claim_number integer,
  cancel_requested_at timestamp with time zone,
  run_id uuid,
  namespace text not null,
  concurrency_key text
) with (fillfactor=40, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=5000, autovacuum_vacuum_cost_delay=0, autovacuum_analyze_scale_factor=10);
create table job_detail (
  job_id uuid not null,
  created_at timestamp with time zone not null,
  run_at timestamp with time zone not null,
  priority smallint not null,
  max_attempts smallint not null,
  max_lost smallint not null,
  on_worker_lost worker_lost_policy not null,
  input jsonb not null,
  options jsonb not null default '{}'::jsonb,
  namespace text not null,
  queue text not null,
  type text not null,
  cancel_requested_at timestamp with time zone,
  end_reason jsonb,
  run_id uuid,
  target text
);
create table job_end (
  job_id uuid not null,
  status job_status not null,
  finished_at timestamp with time zone not null,
  failures smallint not null,
  lost smallint not null,
  interruptions smallint not null
);
create table job_key (
  namespace text not null,
  key text not null,
  job_id uuid not null
);
create table lane (
  id bigint not null,
  namespace text not null,
  queue text not null,
  type text not null,
  priority smallint not null,
  run_id uuid,
  target text
);
create table lane_mark (
  lane bigint not null,
  place bigint not null
);
create table machine (
  namespace text not null,
  id text not null,
  hostname text not null,
  connection_false_alarm_at timestamp with time zone,
  witness_contradicted_at timestamp with time zone,
  drain_requested_at timestamp with time zone
);
create table migration (
  id integer not null,
  name text not null,
  applied_at timestamp with time zone not null default now()
);
create table progress (
  job_id uuid not null,
  attempt integer not null,
  done double precision not null,
  total double precision,
  message text,
  at timestamp with time zone not null
) with (fillfactor=70);
create table retention (
  namespace text not null,
  keep_ms bigint,
  keep_count bigint,
  archive boolean not null default false,
  due_at timestamp with time zone not null default '-infinity'::timestamp with time zone,
  passed_at timestamp with time zone,
  dropped bigint not null default 0,
  problem text,
  events_transaction xid8,
  events_id bigint
) with (fillfactor=50);
create table run (
  id uuid not null,
  namespace text not null,
  name text not null,
  status run_status not null default 'active'::run_status,
  stage text,
  criteria jsonb not null,
  target bigint,
  max_failed bigint,
  budget_tokens bigint,
  budget_usd numeric,
  fill_grace_ms bigint not null,
  filled boolean not null default false,
  keeps_rest boolean not null,
  created_at timestamp with time zone not null,
  finished_at timestamp with time zone,
  end_reason jsonb,
  jobs bigint not null default 0,
  completed bigint not null default 0,
  failed bigint not null default 0,
  cancelled bigint not null default 0,
  tokens bigint not null default 0,
  usd numeric not null default 0,
  last_filled_at timestamp with time zone,
  rest_from uuid,
  emptied_at timestamp with time zone,
  rest_walked_at timestamp with time zone
) with (fillfactor=50);
create table run_tally (
  run_id uuid not null,
  jobs bigint not null default 0,
  completed bigint not null default 0,
  failed bigint not null default 0,
  cancelled bigint not null default 0,
  tokens bigint not null default 0,
  usd numeric not null default 0,
  filled_at timestamp with time zone
) with (autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=1000);
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
  started_at timestamp with time zone not null,
  seen_at timestamp with time zone not null,
  until timestamp with time zone not null,
  stopped_at timestamp with time zone,
  restarts bigint not null default 0,
  last_exit jsonb
) with (fillfactor=50);
create table sweeper (
  namespace text not null,
  leader uuid,
  leader_at timestamp with time zone not null default '-infinity'::timestamp with time zone,
  deputy uuid,
  deputy_at timestamp with time zone not null default '-infinity'::timestamp with time zone,
  compared_at timestamp with time zone not null default '-infinity'::timestamp with time zone,
  judged_at timestamp with time zone not null default '-infinity'::timestamp with time zone,
  lanes_whole_at timestamp with time zone not null default '-infinity'::timestamp with time zone,
  lanes_whole_ms bigint not null default 0
) with (fillfactor=20);
create table tick (
  single boolean not null default true,
  at timestamp with time zone not null,
  writable_since timestamp with time zone not null,
  writable_total_ms bigint not null default 0
) with (fillfactor=10);
create table webhook (
  id uuid not null default gen_random_uuid(),
  namespace text not null,
  url text not null,
  secret text not null,
  rules text[],
  allow_private boolean not null default false,
  created_at timestamp with time zone not null
);
create table webhook_delivery (
  id uuid not null default gen_random_uuid(),
  webhook_id uuid not null,
  namespace text not null,
  kind text not null,
  body text not null,
  created_at timestamp with time zone not null,
  due_at timestamp with time zone not null,
  tries integer not null default 0,
  token uuid,
  last_status integer,
  last_error text,
  delivered_at timestamp with time zone,
  given_up_at timestamp with time zone
);
create table worker (
  incarnation uuid not null,
  namespace text not null,
  machine_id text not null,
  epoch text not null,
  lease_ms integer not null,
  renew_ms integer not null,
  idle_beat_ms integer not null,
  beat_ms integer not null,
  span_ms integer not null,
  until timestamp with time zone not null,
  seen_at timestamp with time zone not null,
  writable_mark_ms bigint not null,
  send_number bigint not null default 0,
  claim_number integer not null default 0,
  last_claim uuid,
  backend_pid integer,
  connection_missing_since timestamp with time zone,
  draining_at timestamp with time zone,
  drain_requested_at timestamp with time zone,
  alone_for uuid,
  low_claim integer not null default 1,
  holds boolean not null default false,
  loop_lag_ms integer not null default 0,
  spool_depth integer not null default 0,
  spool_age_ms bigint not null default 0,
  memory_bytes bigint,
  clock_ahead_ms bigint,
  stuck text,
  ended_at timestamp with time zone,
  end_charge text,
  end_layer smallint,
  emptied_at timestamp with time zone
) with (fillfactor=20, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=1000);
create table worker_detail (
  incarnation uuid not null,
  namespace text not null,
  id text not null,
  hostname text not null,
  pid integer not null,
  boot_id text,
  pid_namespace text,
  process_started text,
  process_started_at timestamp with time zone,
  parent_pid integer,
  kind text not null,
  version text not null,
  command text,
  concurrency integer not null,
  queues text[] not null,
  types text[] not null,
  labels text[] not null default '{}'::text[],
  direct boolean not null default false,
  listens boolean not null default false,
  registered_at timestamp with time zone not null,
  ended_at timestamp with time zone,
  end_reason jsonb,
  run_id uuid
);

alter table aim add constraint aim_pkey PRIMARY KEY (job_id);
alter table alert add constraint alert_pkey PRIMARY KEY (id);
alter table alert_rule add constraint alert_rule_pkey PRIMARY KEY (namespace, rule);
alter table attempt add constraint attempt_pkey PRIMARY KEY (job_id, attempt);
alter table attempt_cost add constraint attempt_cost_pkey PRIMARY KEY (job_id, attempt);
alter table attempt_log add constraint attempt_log_pkey PRIMARY KEY (job_id, attempt, line);
alter table checkpoint add constraint checkpoint_pkey PRIMARY KEY (job_id);
alter table claimed add constraint claimed_pkey PRIMARY KEY (worker, claim_number);
alter table database_identity add constraint database_identity_pkey PRIMARY KEY (single);
alter table database_identity add constraint database_identity_single_check CHECK (single);
alter table installed add constraint installed_pkey PRIMARY KEY (single);
alter table installed add constraint installed_single_check CHECK (single);
alter table job add constraint job_pkey PRIMARY KEY (id);
alter table job_detail add constraint job_detail_pkey PRIMARY KEY (job_id);
alter table job_end add constraint job_end_pkey PRIMARY KEY (job_id);
alter table job_key add constraint job_key_pkey PRIMARY KEY (namespace, key);
alter table lane_mark add constraint lane_mark_pkey PRIMARY KEY (lane);
alter table machine add constraint machine_pkey PRIMARY KEY (namespace, id);
alter table migration add constraint migration_pkey PRIMARY KEY (id);
alter table progress add constraint progress_pkey PRIMARY KEY (job_id);
alter table retention add constraint retention_pkey PRIMARY KEY (namespace);
alter table run add constraint run_pkey PRIMARY KEY (id);
alter table supervisor add constraint supervisor_pkey PRIMARY KEY (namespace, machine_id, name);
alter table sweeper add constraint sweeper_pkey PRIMARY KEY (namespace);
alter table tick add constraint tick_pkey PRIMARY KEY (single);
alter table tick add constraint tick_single_check CHECK (single);
alter table webhook add constraint webhook_namespace_url_key UNIQUE (namespace, url);
alter table webhook add constraint webhook_pkey PRIMARY KEY (id);
alter table webhook_delivery add constraint webhook_delivery_pkey PRIMARY KEY (id);
alter table webhook_delivery add constraint webhook_delivery_webhook_id_fkey FOREIGN KEY (webhook_id) REFERENCES webhook(id) ON DELETE CASCADE;
alter table worker add constraint worker_pkey PRIMARY KEY (incarnation);
alter table worker_detail add constraint worker_detail_id_key UNIQUE (id);
alter table worker_detail add constraint worker_detail_pkey PRIMARY KEY (incarnation);

CREATE INDEX aim_deadline_idx ON aim USING btree (namespace, deadline) WHERE deadline IS NOT NULL; -- sweep: jobs that have waited for their target too long
CREATE INDEX aim_target_idx ON aim USING btree (namespace, target) WHERE if_offline <> 'wait'::offline_policy; -- sweep: jobs whose target may be offline
CREATE UNIQUE INDEX alert_open_idx ON alert USING btree (namespace, rule, subject) WHERE resolved_at IS NULL; -- judge_alerts: one open alert for each rule and subject
CREATE INDEX alert_resolved_idx ON alert USING btree (namespace, resolved_at) WHERE resolved_at IS NOT NULL; -- list_alerts, judge_alerts: the newest that are over, the oldest to prune
CREATE INDEX attempt_lost_idx ON attempt USING btree (worker) WHERE ended_as = 'lost'::attempt_end; -- heard_again: what early evidence took from a worker
CREATE INDEX event_feed_idx ON event USING btree (namespace, transaction_id, id); -- read_events: the feed in commit-safe order
CREATE INDEX event_job_idx ON event USING btree ((job_ids[1])) WHERE kind <> ALL (ARRAY['job.completed'::text, 'job.picked_up'::text]); -- job_events: what happened to one job
CREATE INDEX job_claimable_idx ON job USING btree (lane, place) WHERE standing = 'pending'::job_status AND place IS NOT NULL; -- claim: the first jobs of a lane from a mark on
CREATE INDEX job_detail_run_idx ON job_detail USING btree (run_id, job_id) WHERE run_id IS NOT NULL; -- lists: the jobs of a run
CREATE INDEX job_keyed_idx ON job USING btree (namespace, concurrency_key) WHERE holds_key; -- admit: whether a job with this concurrency key runs
CREATE INDEX job_parked_idx ON job USING btree (namespace, concurrency_key, priority DESC, run_at, id) WHERE parked; -- free_keys: the job that is next for a concurrency key
CREATE INDEX job_set_aside_idx ON job USING btree (namespace, standing) WHERE standing = ANY (ARRAY['held'::job_status, 'blocked'::job_status]); -- stats, lists: jobs that wait for a person or for other jobs
CREATE INDEX job_waiting_idx ON job USING btree (lane, (lost >= (max_lost - 1)), run_at, id) WHERE standing = 'pending'::job_status AND place IS NULL AND NOT parked; -- claim: jobs whose time has come, and those whose last chance is taken alone
CREATE INDEX lane_id_idx ON lane USING btree (id); -- enqueue: whether a lane is known
CREATE INDEX lane_idx ON lane USING btree (namespace, queue, type); -- claim: the lanes of a queue and type
CREATE INDEX lane_run_idx ON lane USING btree (run_id) WHERE run_id IS NOT NULL; -- end of a run: what of it waits, and lanes that can go
CREATE INDEX run_open_idx ON run USING btree (namespace) WHERE emptied_at IS NULL; -- sweep: runs that go on, or have ended and still hold jobs
CREATE INDEX run_tally_idx ON run_tally USING btree (run_id); -- runs: what has not been folded in
CREATE INDEX webhook_delivery_due_idx ON webhook_delivery USING btree (namespace, due_at) WHERE delivered_at IS NULL AND given_up_at IS NULL; -- sweep, take_deliveries: what is to be sent, and when
CREATE INDEX webhook_delivery_webhook_idx ON webhook_delivery USING btree (webhook_id, created_at); -- list_webhooks, remove_webhook: the deliveries of one webhook
CREATE INDEX worker_detail_ended_idx ON worker_detail USING btree (namespace, ended_at) WHERE ended_at IS NOT NULL; -- crash_history, alert_conditions: workers that ended lately
CREATE INDEX worker_detail_run_idx ON worker_detail USING btree (run_id) WHERE run_id IS NOT NULL; -- end of a run: the workers that are aimed at it
CREATE INDEX worker_gone_idx ON worker USING btree (namespace) WHERE ended_at IS NOT NULL AND emptied_at IS NULL; -- sweep: workers that have ended and may still hold jobs
CREATE INDEX worker_live_idx ON worker USING btree (namespace) WHERE ended_at IS NULL; -- sweep, view: workers that have not ended

create view held_job as
 SELECT c.worker AS holder,
    c.claim_number AS claim,
    j.id,
    j.token,
    j.namespace,
    j.run_id,
    j.lost,
    j.max_lost,
    j.on_worker_lost,
    j.progressed,
    j.priority,
    j.lane,
    j.place,
    j.cancel_requested_at
   FROM claimed c
     CROSS JOIN LATERAL unnest(c.jobs) given(id)
     CROSS JOIN LATERAL ( SELECT job.id,
            job.lane,
            job.run_at,
            job.attempt,
            job.failures,
            job.lost,
            job.interruptions,
            job.max_attempts,
            job.max_lost,
            job.priority,
            job.standing,
            job.on_worker_lost,
            job.progressed,
            job.parked,
            job.holds_key,
            job.place,
            job.token,
            job.worker,
            job.started_at,
            job.claim_number,
            job.cancel_requested_at,
            job.run_id,
            job.namespace,
            job.concurrency_key
           FROM job
          WHERE job.id = given.id AND job.token IS NOT NULL AND job.worker = c.worker AND job.claim_number = c.claim_number
         OFFSET 0) j
  WHERE c.remaining > 0;
create view job_stored as
 SELECT d.job_id AS id,
    d.namespace,
    d.queue,
    d.type,
        CASE
            WHEN j.token IS NOT NULL THEN 'running'::job_status
            ELSE COALESCE(j.standing, e.status, a.job_status)
        END AS status,
    d.priority,
    COALESCE(j.run_at, d.run_at) AS run_at,
    COALESCE(j.attempt, a.attempt, 0) AS attempt,
    COALESCE(j.failures, e.failures, a.failures, 0::smallint) AS failures,
    COALESCE(j.lost, e.lost, a.lost, 0::smallint) AS lost,
    COALESCE(j.interruptions, e.interruptions, a.interruptions, 0::smallint) AS interruptions,
    d.max_attempts,
    d.max_lost,
    d.on_worker_lost,
    j.token,
    COALESCE(j.worker, a.worker) AS worker,
    COALESCE(j.started_at, a.started_at) AS started_at,
    d.cancel_requested_at,
        CASE
            WHEN j.id IS NULL THEN COALESCE(e.finished_at, a.ended_at)
            ELSE NULL::timestamp with time zone
        END AS finished_at,
    COALESCE(j.progressed, false) AS progressed,
    COALESCE(j.parked, false) AS parked,
    d.created_at,
    d.input,
    d.options,
    d.end_reason,
    d.run_id,
    d.target
   FROM job_detail d
     LEFT JOIN job j ON j.id = d.job_id
     LEFT JOIN job_end e ON e.job_id = d.job_id
     LEFT JOIN LATERAL ( SELECT attempt.attempt,
            attempt.job_status,
            attempt.failures,
            attempt.lost,
            attempt.interruptions,
            attempt.worker,
            attempt.started_at,
            attempt.ended_at
           FROM attempt
          WHERE attempt.job_id = d.job_id AND j.id IS NULL
          ORDER BY attempt.attempt DESC
         LIMIT 1) a ON true;
create view job_truth as
 SELECT s.id,
    s.namespace,
    s.queue,
    s.type,
    s.status,
    s.priority,
    s.run_at,
    s.attempt,
    s.failures,
    s.lost,
    s.interruptions,
    s.max_attempts,
    s.max_lost,
    s.on_worker_lost,
    s.token,
    s.worker,
    s.started_at,
    s.cancel_requested_at,
    s.finished_at,
    s.progressed,
    s.parked,
    s.created_at,
    s.input,
    s.options,
    s.end_reason,
    s.run_id,
    s.target,
        CASE
            WHEN s.status = 'running'::job_status AND (w.incarnation IS NULL OR w.ended_at IS NOT NULL OR w.until <= clock()) THEN 'lost'::text
            WHEN s.status = 'running'::job_status AND s.cancel_requested_at IS NOT NULL THEN 'cancelling'::text
            WHEN s.status = 'running'::job_status AND s.options ? 'progressDeadlineMs'::text AND (GREATEST(s.started_at,
            CASE
                WHEN p.attempt = s.attempt THEN p.at
                ELSE NULL::timestamp with time zone
            END,
            CASE
                WHEN c.attempt = s.attempt THEN c.at
                ELSE NULL::timestamp with time zone
            END) + milliseconds((s.options ->> 'progressDeadlineMs'::text)::double precision)) < clock() THEN 'stalled'::text
            WHEN s.status = 'pending'::job_status AND s.failures > 0 THEN 'retrying'::text
            WHEN s.status = 'pending'::job_status AND s.run_at > clock() THEN 'scheduled'::text
            ELSE s.status::text
        END AS state,
    p.done AS progress_done,
    p.total AS progress_total,
    p.message AS progress_message,
    p.at AS progress_at,
    c.value AS checkpoint,
    c.at AS checkpoint_at,
    w.machine_id,
    w.seen_at AS heartbeat_at,
    w.ended_at AS worker_ended_at,
    LEAST(w.until, clock() + milliseconds(w.span_ms::double precision)) AS lease_expires_at,
    judged_after(w.until, w.span_ms, w.writable_mark_ms, tick.*) AS judged_after
   FROM job_stored s
     CROSS JOIN tick
     LEFT JOIN worker w ON w.incarnation = s.worker
     LEFT JOIN progress p ON p.job_id = s.id
     LEFT JOIN checkpoint c ON c.job_id = s.id;
create view machine_truth as
 SELECT m.namespace,
    m.id,
    m.hostname,
    m.drain_requested_at,
        CASE
            WHEN count(*) FILTER (WHERE w.status <> 'offline'::text) > 0 THEN 'online'::text
            ELSE 'offline'::text
        END AS status,
    count(*) FILTER (WHERE w.status <> 'offline'::text) AS workers_online,
    count(w.incarnation) AS workers_total,
    max(w.seen_at) AS last_seen_at,
    m.witness_contradicted_at
   FROM machine m
     LEFT JOIN worker_truth w ON w.namespace = m.namespace AND w.machine_id = m.id
  GROUP BY m.namespace, m.id, m.hostname, m.drain_requested_at, m.witness_contradicted_at;
create view run_truth as
 SELECT r.id,
    r.namespace,
    r.name,
    r.status,
    r.stage,
    r.criteria,
    r.target,
    r.max_failed,
    r.budget_tokens,
    r.budget_usd,
    r.fill_grace_ms,
    r.filled,
    r.keeps_rest,
    r.created_at,
    r.finished_at,
    r.end_reason,
    GREATEST(r.last_filled_at, t.filled_at) AS last_filled_at,
    r.emptied_at,
    r.jobs + t.jobs AS jobs,
    r.completed + t.completed AS completed,
    r.failed + t.failed AS failed,
    r.cancelled + t.cancelled AS cancelled,
    r.tokens + t.tokens AS tokens,
    r.usd + t.usd AS usd,
    r.jobs + t.jobs - r.completed - t.completed - r.failed - t.failed - r.cancelled - t.cancelled AS left_over
   FROM run r
     CROSS JOIN LATERAL ( SELECT COALESCE(sum(run_tally.jobs), 0::numeric)::bigint AS jobs,
            COALESCE(sum(run_tally.completed), 0::numeric)::bigint AS completed,
            COALESCE(sum(run_tally.failed), 0::numeric)::bigint AS failed,
            COALESCE(sum(run_tally.cancelled), 0::numeric)::bigint AS cancelled,
            COALESCE(sum(run_tally.tokens), 0::numeric)::bigint AS tokens,
            COALESCE(sum(run_tally.usd), 0::numeric) AS usd,
            max(run_tally.filled_at) AS filled_at
           FROM run_tally
          WHERE run_tally.run_id = r.id) t;
create view worker_truth as
 SELECT w.incarnation,
    d.id,
    w.namespace,
    w.machine_id,
    d.hostname,
    d.pid,
    d.kind,
    d.version,
    d.command,
    d.concurrency,
    d.queues,
    d.types,
    d.labels,
    d.parent_pid,
    d.boot_id,
    d.process_started_at,
    d.registered_at,
    d.listens,
    w.seen_at,
    w.lease_ms,
    w.low_claim,
    w.beat_ms,
    w.loop_lag_ms,
    w.spool_depth,
    w.spool_age_ms,
    w.memory_bytes,
    w.clock_ahead_ms,
    w.backend_pid,
    w.stuck,
    w.ended_at,
    w.drain_requested_at,
    c.gone AS connection_gone,
    d.end_reason,
    d.run_id,
    LEAST(w.until, clock() + milliseconds(w.span_ms::double precision)) AS lease_expires_at,
    judged_after(w.until, w.span_ms, w.writable_mark_ms, tick.*) AS judged_after,
    w.ended_at IS NULL AND w.until > clock() AS lease_holds,
        CASE
            WHEN w.ended_at IS NOT NULL OR w.until <= clock() THEN 'offline'::text
            WHEN c.gone AND (clock() - w.seen_at) > milliseconds(w.lease_ms::double precision) THEN 'offline'::text
            WHEN c.gone OR (clock() - w.seen_at) > milliseconds((2 * w.beat_ms)::double precision) THEN 'late'::text
            WHEN w.stuck IS NOT NULL THEN 'unhealthy'::text
            WHEN w.draining_at IS NOT NULL OR w.drain_requested_at IS NOT NULL THEN 'draining'::text
            ELSE 'online'::text
        END AS status,
        CASE
            WHEN w.ended_at IS NULL OR w.end_layer IS NULL OR w.end_charge = 'uncharged'::text THEN NULL::text
            WHEN w.end_layer = 0 AND w.end_charge = 'interrupted'::text THEN COALESCE(d.end_reason #>> '{shutdown,outcome}'::text[], 'graceful'::text)
            WHEN w.end_layer > 0 AND d.end_reason ? 'heardAgainAt'::text THEN NULL::text
            WHEN w.end_charge = 'interrupted'::text THEN 'timed_out'::text
            ELSE 'crashed'::text
        END AS shutdown
   FROM worker w
     JOIN worker_detail d USING (incarnation)
     CROSS JOIN tick
     CROSS JOIN LATERAL ( SELECT w.ended_at IS NULL AND NOT connected(w.backend_pid) AS gone) c;

function acknowledge_alerts(p_namespace text, p_alerts uuid[], p_by text DEFAULT NULL::text) returns text[] volatile security definer; -- admin
function acknowledge_cancel(p_jobs uuid[], p_tokens uuid[], p_values text[] DEFAULT NULL::text[]) returns text[] volatile security definer; -- admin, worker
function add_webhook(p_namespace text, p_url text, p_rules text[] DEFAULT NULL::text[], p_allow_private boolean DEFAULT false) returns jsonb volatile security definer; -- admin
function admit(p_jobs uuid[]) returns uuid[] volatile;
function aim_document(t job_truth) returns jsonb stable;
function aimed_targets(p_namespace text) returns SETOF text stable;
function aims_due(p_namespace text) returns boolean stable;
function alert_conditions(p_namespace text) returns TABLE(rule text, subject text, message text, data jsonb) stable;
function alert_document(a alert) returns jsonb stable;
function alert_rules(p_namespace text) returns jsonb stable security definer; -- admin, client
function alert_settings(p_namespace text) returns TABLE(rule text, enabled boolean, at_least integer, within_ms bigint, for_ms bigint, says text, changed boolean) stable;
function alerts_due(p_namespace text, p_idle_ms integer) returns boolean stable;
function alerts_watch(p_namespace text) returns boolean stable;
function ask_about_missing(p_namespace text) returns void stable;
function ask_for_deputy(p_namespace text, p_worker uuid, p_before sweeper) returns void volatile;
function backlog_age(p_namespace text, p_queues text[], p_types text[], p_run uuid DEFAULT NULL::uuid) returns bigint stable security definer; -- admin, worker
function begin_retention(p_namespace text, p_archives boolean DEFAULT false, p_now boolean DEFAULT false) returns json volatile security definer; -- admin, worker
function bind_database() returns void volatile;
function cancel(p_namespace text, p_jobs uuid[], p_reason jsonb DEFAULT '{}'::jsonb) returns text[] volatile security definer; -- admin, client
function cancel_rest(p_run uuid, p_limit integer) returns integer volatile;
function channel(p_namespace text) returns text stable security definer; -- admin, client, worker
function channel_of(p_namespace text) returns text stable;
function check_ms_option(p_options jsonb, p_name text) returns void immutable;
function checkpoint(p_jobs uuid[], p_tokens uuid[], p_values text[]) returns text[] volatile security definer; -- admin, worker
function claim(p_worker uuid, p_claim uuid, p_want integer, p_queues text[], p_types text[], p_lanes bigint[] DEFAULT NULL::bigint[], p_marks bigint[] DEFAULT NULL::bigint[], p_run uuid DEFAULT NULL::uuid, p_targets text[] DEFAULT NULL::text[]) returns text volatile security definer; -- admin, worker
function claimed_group(p_queue text, p_type text, p_jobs text) returns text immutable;
function claimed_job(p_job uuid, p_token uuid, p_attempt integer, p_failures smallint, p_run uuid, p_input jsonb, p_options jsonb) returns text stable;
function claimed_jobs(p_worker uuid, p_claim_number integer) returns text stable;
function clock() returns timestamp with time zone stable;
function clock_after_wait() returns timestamp with time zone volatile;
function clock_step_ms() returns integer immutable;
function complete(p_jobs uuid[], p_tokens uuid[], p_values text[] DEFAULT NULL::text[]) returns text[] volatile security definer; -- admin, worker
function confirm_copy() returns jsonb volatile security definer; -- admin
function connected(p_backend integer) returns boolean stable;
function connection_came_back(p_worker worker) returns void volatile;
function connection_grace_ms() returns integer immutable;
function cost(p_jobs uuid[], p_tokens uuid[], p_cost_tokens bigint[], p_usd numeric[]) returns text[] volatile security definer; -- admin, worker
function crash_history(p_namespace text, p_machine text, p_within_ms bigint) returns jsonb stable;
function crashed(w worker, d worker_detail) returns boolean stable;
function create_run(p_namespace text, p_name text, p_criteria jsonb DEFAULT '{}'::jsonb, p_options jsonb DEFAULT '{}'::jsonb) returns jsonb volatile security definer; -- admin, client
function database_copied() returns boolean stable security definer; -- admin, client, worker
function database_epoch() returns text stable;
function database_facts() returns json stable security definer; -- admin, worker
function database_life() returns text stable;
function database_system() returns text stable;
function drain_machine(p_namespace text, p_machine text, p_drain boolean) returns text volatile security definer; -- admin
function drain_workers(p_namespace text, p_workers uuid[], p_drain boolean) returns text[] volatile security definer; -- admin
function drop_events(p_namespace text, p_below uuid DEFAULT NULL::uuid, p_after text DEFAULT NULL::text) returns json volatile security definer; -- admin, worker
function drop_jobs(p_namespace text, p_jobs uuid[], p_ends timestamp with time zone[], p_below uuid DEFAULT NULL::uuid, p_archived boolean DEFAULT false) returns integer volatile security definer; -- admin, worker
function elect_sweeper(p_namespace text, p_worker uuid) returns text volatile;
function empty_run(p_run uuid) returns void volatile;
function end_retention(p_namespace text, p_problem text DEFAULT NULL::text, p_retry_ms bigint DEFAULT NULL::bigint) returns void volatile security definer; -- admin, worker
function end_run(p_namespace text, p_run uuid, p_status run_status, p_rest text DEFAULT NULL::text, p_reason jsonb DEFAULT '{}'::jsonb) returns text volatile security definer; -- admin, client
function end_waiting(p_jobs uuid[], p_status job_status) returns void volatile;
function end_worker(p_worker uuid, p_charge text, p_reason jsonb) returns json volatile security definer; -- admin, worker
function end_workers(p_namespace text, p_workers uuid[], p_charge text, p_layer smallint, p_reason jsonb) returns uuid[] volatile;
function enqueue(p_namespace text, p_types text[], p_inputs text[], p_options text[] DEFAULT NULL::text[], p_hint boolean DEFAULT true) returns uuid[] volatile security definer; -- admin, client, worker
function enqueue_child(p_job uuid, p_token uuid, p_types text[], p_inputs text[], p_options text[] DEFAULT NULL::text[]) returns uuid[] volatile security definer; -- admin, worker
function events_dropped(p_namespace text) returns text stable security definer; -- admin, client, worker
function events_end(p_namespace text) returns text stable security definer; -- admin, client, worker
function evict_workers(p_namespace text, p_workers uuid[], p_reason jsonb DEFAULT '{}'::jsonb) returns json volatile security definer; -- admin
function fail(p_jobs uuid[], p_tokens uuid[], p_values text[] DEFAULT NULL::text[], p_delays bigint[] DEFAULT NULL::bigint[]) returns text[] volatile security definer; -- admin, worker
function fenced(p_jobs uuid[], p_tokens uuid[], p_write text) returns TABLE(n bigint, job_id uuid, attempt integer, answer text) volatile;
function fill_grace_ms() returns integer immutable;
function find_alerts(p_namespace text, p_ending text) returns jsonb stable security definer; -- admin, client
function find_jobs(p_namespace text, p_ending text) returns uuid[] stable security definer; -- admin, client
function find_machines(p_namespace text, p_text text) returns jsonb stable security definer; -- admin, client
function find_processes(p_namespace text, p_boot text, p_pid_namespace text, p_pids integer[], p_started text[]) returns jsonb stable security definer; -- admin
function find_runs(p_namespace text, p_text text) returns jsonb stable security definer; -- admin, client
function find_webhooks(p_namespace text, p_text text) returns jsonb stable security definer; -- admin
function find_workers(p_namespace text, p_text text) returns jsonb stable security definer; -- admin, client
function finish_run(p_run uuid, p_status run_status, p_keeps_rest boolean, p_reason jsonb) returns void volatile;
function fits_target(w worker_truth, p_target text) returns boolean stable;
function fold_run(p_run uuid) returns void volatile;
function free_idle_keys(p_namespace text, p_keys_max integer) returns void volatile;
function free_keys(p_namespace text, p_keys text[]) returns void volatile;
function gap_ms() returns integer immutable;
function gap_pending(p_tick tick) returns boolean stable;
function get_jobs(p_namespace text, p_jobs uuid[], p_whole boolean DEFAULT false) returns jsonb stable security definer; -- admin, client, worker
function guard() returns void volatile;
function heard_again(p_worker worker) returns void volatile;
function hint(p_namespace text, p_payload text) returns void volatile;
function hold(p_namespace text, p_jobs uuid[], p_reason jsonb DEFAULT '{}'::jsonb) returns text[] volatile security definer; -- admin
function input_bytes_max() returns integer immutable;
function installed_release() returns json stable security definer; -- admin, client, worker
function interrupt(p_jobs uuid[], p_tokens uuid[], p_values text[] DEFAULT NULL::text[]) returns text[] volatile security definer; -- admin, worker
function interruptions_max() returns integer immutable;
function invariants() returns TABLE(rule text, job_id uuid) stable security definer; -- admin
function is_over(p_job uuid, p_finished_at timestamp with time zone, p_recent timestamp with time zone, p_old timestamp with time zone, p_below uuid) returns boolean immutable;
function iso(p_at timestamp with time zone) returns text stable;
function job_attempts(p_job uuid) returns jsonb stable;
function job_document(t job_truth) returns jsonb stable;
function job_events(p_job uuid) returns jsonb stable;
function job_id_of(p_head bigint, p_place bigint) returns uuid volatile;
function job_logs(p_namespace text, p_job uuid, p_attempt integer DEFAULT NULL::integer, p_after bigint DEFAULT 0, p_limit integer DEFAULT 1000) returns jsonb stable security definer; -- admin, client
function jobs_to_drop(p_namespace text, p_below uuid, p_after uuid DEFAULT NULL::uuid, p_whole boolean DEFAULT false) returns json stable security definer; -- admin, worker
function join_run(p_namespace text, p_run uuid) returns void volatile;
function judge_alerts(p_namespace text) returns jsonb volatile;
function judge_runs(p_namespace text, p_runs uuid[], p_wait boolean DEFAULT true) returns text[] volatile security definer; -- admin, client, worker
function judged_after(p_until timestamp with time zone, p_span_ms integer, p_writable_mark_ms bigint, p_tick tick) returns timestamp with time zone stable;
function keep_default_ms() returns bigint immutable;
function keep_min_ms() returns bigint immutable;
function keep_supervising(p_namespace text, p_machine text, p_name text, p_incarnation uuid, p_restarts bigint, p_last_exit jsonb) returns text volatile security definer; -- admin, worker
function key_lock(p_namespace text, p_key text) returns bigint stable;
function know_fronts(p_lanes bigint[]) returns void volatile;
function know_lane(p_lane bigint, p_namespace text, p_queue text, p_type text, p_priority smallint, p_run uuid, p_target text) returns void volatile;
function known_types(p_namespace text) returns text[] stable security definer; -- admin, client
function lane_heads(p_lanes bigint[], p_heads bigint[], p_marked bigint[], p_marks bigint[]) returns bigint[] stable;
function lane_of(p_namespace text, p_queue text, p_type text, p_priority smallint, p_run uuid DEFAULT NULL::uuid, p_target text DEFAULT NULL::text) returns bigint immutable;
function lanes_waiting(p_namespace text) returns TABLE(queue text, type text, job_id uuid) stable;
function last_chance(p_namespace text, p_worker uuid, p_reserved uuid, p_busy boolean, p_lanes bigint[]) returns uuid volatile;
function lease_lost_answer(p_worker uuid) returns json stable;
function leases_exist(p_namespace text) returns boolean stable;
function least_id_at(p_at timestamp with time zone) returns uuid immutable;
function let_go(p_workers uuid[], p_claims integer[]) returns void volatile;
function list_alerts(p_namespace text, p_all boolean DEFAULT false, p_limit integer DEFAULT 500) returns jsonb stable security definer; -- admin, client
function list_jobs(p_namespace text, p_states text[] DEFAULT NULL::text[], p_type text DEFAULT NULL::text, p_queue text DEFAULT NULL::text, p_worker text DEFAULT NULL::text, p_before uuid DEFAULT NULL::uuid, p_limit integer DEFAULT 50, p_run uuid DEFAULT NULL::uuid) returns jsonb stable security definer; -- admin, client
function list_machines(p_namespace text) returns jsonb stable security definer; -- admin, client
function list_runs(p_namespace text, p_statuses text[] DEFAULT NULL::text[], p_before uuid DEFAULT NULL::uuid, p_limit integer DEFAULT 50) returns jsonb stable security definer; -- admin, client
function list_supervisors(p_namespace text, p_ended_within_ms bigint DEFAULT 3600000) returns jsonb stable security definer; -- admin, client
function list_webhooks(p_namespace text) returns jsonb stable security definer; -- admin
function list_workers(p_namespace text, p_ended_within_ms bigint DEFAULT 3600000) returns jsonb stable security definer; -- admin, client
function log(p_jobs uuid[], p_tokens uuid[], p_ages double precision[], p_levels text[], p_messages text[], p_fields text[]) returns text[] volatile security definer; -- admin, worker
function machine_document(t machine_truth) returns jsonb stable;
function mark_lanes(p_namespace text) returns void volatile;
function milliseconds(p_ms double precision) returns interval immutable;
function milliseconds_between(p_from timestamp with time zone, p_to timestamp with time zone) returns bigint immutable;
function moment_of(p_id uuid) returns timestamp with time zone immutable;
function next_place() returns bigint volatile;
function open_claim(p_worker worker) returns integer volatile;
function place_due(p_lanes bigint[]) returns timestamp with time zone volatile;
function poison_lock(p_namespace text, p_type text) returns bigint stable;
function progress(p_jobs uuid[], p_tokens uuid[], p_done double precision[], p_totals double precision[], p_messages text[]) returns text[] volatile security definer; -- admin, worker
function put_back(p_jobs uuid[]) returns void volatile;
function raise_poison(p_namespace text, p_jobs uuid[]) returns void volatile;
function read_events(p_namespace text, p_after text DEFAULT NULL::text, p_limit integer DEFAULT 500) returns jsonb stable security definer; -- admin, client, worker
function record_event(p_namespace text, p_kind text, p_jobs uuid[], p_worker uuid, p_data jsonb DEFAULT NULL::jsonb) returns void volatile;
function refund(p_worker uuid) returns uuid[] volatile;
function refuse_ended_run(p_namespace text, p_run uuid) returns void volatile;
function register(p_namespace text, p_worker jsonb) returns json volatile security definer; -- admin, worker
function release(p_jobs uuid[], p_tokens uuid[], p_values text[] DEFAULT NULL::text[]) returns text[] volatile security definer; -- admin, worker
function release_jobs(p_namespace text, p_jobs uuid[], p_reason jsonb DEFAULT '{}'::jsonb) returns text[] volatile security definer; -- admin
function release_stuck(p_namespace text, p_older_than_ms bigint, p_dry_run boolean DEFAULT false, p_force boolean DEFAULT false) returns json volatile security definer; -- admin
function remove_webhook(p_namespace text, p_webhook uuid) returns boolean volatile security definer; -- admin
function renew(p_worker uuid, p_send_number bigint, p_idle_beat_ms integer DEFAULT NULL::integer, p_draining boolean DEFAULT false, p_loop_lag_ms integer DEFAULT 0, p_spool_depth integer DEFAULT 0, p_direct boolean DEFAULT false, p_stuck text DEFAULT NULL::text, p_spool_age_ms bigint DEFAULT 0, p_memory_bytes bigint DEFAULT NULL::bigint, p_clock_ahead_ms bigint DEFAULT NULL::bigint) returns json volatile security definer; -- admin, worker
function report_death(p_namespace text, p_reporter jsonb, p_layer smallint, p_workers uuid[], p_evidence jsonb DEFAULT '{}'::jsonb) returns json volatile security definer; -- admin, worker
function resign_sweepers(p_workers uuid[]) returns void volatile;
function rest_batch() returns integer immutable;
function resume(p_namespace text, p_jobs uuid[]) returns text[] volatile security definer; -- admin
function resume_of(p_job uuid, p_attempt integer) returns json stable;
function retention_every_ms() returns integer immutable;
function retention_lease_ms() returns integer immutable;
function retention_of(p_namespace text) returns jsonb stable security definer; -- admin, client
function retry(p_namespace text, p_jobs uuid[]) returns text[] volatile security definer; -- admin, client
function run_document(t run_truth) returns jsonb stable;
function run_id_of(p_at timestamp with time zone) returns uuid volatile;
function run_is_full(t run_truth, p_lead interval DEFAULT '00:00:00'::interval) returns boolean stable;
function run_verdict(t run_truth) returns jsonb stable;
function set_alert_rule(p_namespace text, p_rule text, p_settings jsonb) returns jsonb volatile security definer; -- admin
function set_retention(p_namespace text, p_changes jsonb) returns jsonb volatile security definer; -- admin
function settle(p_jobs uuid[], p_tokens uuid[], p_outcomes text[], p_values text[] DEFAULT NULL::text[], p_delays bigint[] DEFAULT NULL::bigint[]) returns text[] volatile security definer; -- admin, worker
function settle_delivery(p_delivery uuid, p_token uuid, p_status integer, p_error text DEFAULT NULL::text) returns text volatile security definer; -- admin, worker
function settle_free(p_jobs uuid[], p_tokens uuid[], p_outcomes text[], p_values text[], p_delays bigint[]) returns text[] volatile;
function settle_late(p_job uuid, p_token uuid, p_outcome text, p_value jsonb) returns text volatile;
function shutdown_counts(p_shutdowns text[]) returns jsonb immutable;
function shutdowns(p_namespace text, p_within_ms bigint DEFAULT 604800000) returns jsonb stable security definer; -- admin, client
function sign_webhook(p_secret text, p_id uuid, p_timestamp bigint, p_body text) returns text immutable;
function somebody_must_sweep(p_namespace text) returns boolean stable;
function stats(p_namespace text) returns jsonb stable security definer; -- admin, client
function status_of(p_namespace text, p_job uuid) returns text stable;
function stop_supervising(p_namespace text, p_machine text, p_name text, p_incarnation uuid) returns void volatile security definer; -- admin, worker
function store_jobs(p_namespace text, p_types text[], p_inputs text[], p_options jsonb, p_hint boolean) returns uuid[] volatile;
function supervise(p_namespace text, p_supervisor jsonb, p_dead uuid DEFAULT NULL::uuid) returns json volatile security definer; -- admin, worker
function sweep(p_namespace text, p_worker uuid DEFAULT NULL::uuid, p_limit integer DEFAULT 500, p_reckoned_ms bigint DEFAULT NULL::bigint) returns json volatile security definer; -- admin, worker
function sweep_aims(p_namespace text, p_limit integer, p_compare boolean) returns boolean volatile;
function sweep_every_ms() returns integer immutable;
function sweep_runs(p_namespace text) returns boolean volatile;
function take(p_jobs uuid[], p_rows tid[], p_worker uuid, p_claim_number integer) returns text volatile;
function take_aim(p_namespace text, p_jobs uuid[]) returns void volatile;
function take_back(p_namespace text, p_workers uuid[], p_limit integer) returns TABLE(job_id uuid, job_status job_status, end_code text) volatile;
function take_deliveries(p_namespace text, p_worker uuid, p_limit integer DEFAULT 10) returns jsonb volatile security definer; -- admin, worker
function take_delivery(p_delivery uuid) returns jsonb volatile;
function taken_back(p_namespace text, p_workers uuid[], p_limit integer DEFAULT NULL::integer) returns json volatile;
function tally_ended(p_runs uuid[], p_statuses text[], p_by integer DEFAULT 1) returns void volatile;
function target_online(p_namespace text, p_target text) returns boolean stable;
function test_webhook(p_namespace text, p_webhook uuid) returns jsonb volatile security definer; -- admin
function too_many_failed(t run_truth) returns jsonb stable;
function touch_tick(p_older_than_ms integer, p_clock_stepped boolean DEFAULT false) returns void volatile;
function touch_tick_unless_held(p_older_than_ms integer) returns void volatile;
function unheard_connections(p_namespace text) returns uuid[] volatile;
function unpark(p_jobs uuid[]) returns void volatile;
function update_run(p_namespace text, p_run uuid, p_stage text DEFAULT NULL::text, p_filled boolean DEFAULT NULL::boolean) returns text volatile security definer; -- admin, client
function upkeep_due(p_namespace text) returns boolean stable;
function value_bytes_max() returns integer immutable;
function waiting_since(p_lanes bigint[]) returns TABLE(lane bigint, due_at timestamp with time zone, last_at timestamp with time zone) stable;
function was_or_were(p_count bigint) returns text immutable;
function webhook_document(h webhook) returns jsonb stable;
function whole_reason(p_reason jsonb) returns jsonb immutable;
function witness_trusted(p_namespace text, p_machine text) returns boolean stable;
function words_of_ms(p_ms bigint) returns text immutable;
function worker_document(t worker_truth) returns jsonb stable;
function workers_counted(p_count bigint) returns text immutable;
function workers_for(t job_truth) returns jsonb stable;
function workers_gone(p_namespace text, p_compare boolean) returns uuid[] stable;
