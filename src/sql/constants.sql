-- The protocol's numbers, each once. sweep_every_ms: one pass a second bounds what a lease adds to its own length.
-- gap_ms: a pause in the tick that counts as an outage, max(3 S, 5 s); the takeover of a dead sweeper (at most 3 S) must
-- be shorter, or killing the sweeper would look like one. clock_step_ms: a clock that is off by more than this has stepped, and did not
-- merely drift or answer slowly. connection_grace_ms: what a lost reserved connection has to
-- come back. interruptions_max: a job moved a hundred times by deploys needs a person. input_bytes_max: 1 MiB.
-- fill_grace_ms: how long after its last job was put in a run that does not say how many there will be may still get another.
-- keep_default_ms: two weeks, in which somebody has looked at what failed. keep_min_ms: what ended within the last hour is kept in any
-- case, as a lost answer may be asked for again, and somebody may wait for the result. retention_every_ms: how often a pass begins.
create or replace function sweep_every_ms() returns integer language sql immutable parallel safe as 'select 1000';
create or replace function gap_ms() returns integer language sql immutable parallel safe as 'select 5000';
create or replace function clock_step_ms() returns integer language sql immutable parallel safe as 'select 1000';
create or replace function connection_grace_ms() returns integer language sql immutable parallel safe as 'select 2000';
create or replace function interruptions_max() returns integer language sql immutable parallel safe as 'select 100';
create or replace function fill_grace_ms() returns integer language sql immutable parallel safe as 'select 30000';
create or replace function input_bytes_max() returns integer language sql immutable parallel safe as 'select 1048576';
create or replace function value_bytes_max() returns integer language sql immutable parallel safe as 'select 1048576';
create or replace function milliseconds(p_ms double precision) returns interval
  language sql immutable parallel safe as $$ select p_ms * interval '1 millisecond' $$;
create or replace function milliseconds_between(p_from timestamptz, p_to timestamptz) returns bigint
  language sql immutable parallel safe as 'select (extract(epoch from p_to - p_from) * 1000)::bigint';
create or replace function iso(p_at timestamptz) returns text
  language sql stable parallel safe as $$ select to_char(p_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') $$;
create or replace function keep_default_ms() returns bigint language sql immutable parallel safe as 'select 1209600000::bigint';
create or replace function keep_min_ms() returns bigint language sql immutable parallel safe as 'select 3600000::bigint';
create or replace function retention_every_ms() returns integer language sql immutable parallel safe as 'select 3600000';
