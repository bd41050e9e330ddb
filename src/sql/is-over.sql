-- Whether a job that ended then need not be kept: not within the last hour, and either before p_old or too many, its id being no newer
-- than p_below; null: no such limit. A job that has not ended has no end, and so is never over. One expression, so that it is inlined.
create or replace function is_over(p_job uuid, p_finished_at timestamptz, p_recent timestamptz, p_old timestamptz, p_below uuid) returns boolean
language sql immutable parallel safe
as $$
  select p_finished_at < p_recent and (p_finished_at < p_old or p_job <= p_below)
$$;

-- The least id that a job can have which is created at this moment, and the moment of an id.
create or replace function least_id_at(p_at timestamptz) returns uuid
language sql immutable parallel safe
as $$
  select (lpad(to_hex(greatest(0, extract(epoch from p_at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid
$$;
create or replace function moment_of(p_id uuid) returns timestamptz
language sql immutable parallel safe
as $$
  select timestamptz 'epoch' + milliseconds(('x' || left(replace(p_id::text, '-', ''), 12))::bit(48)::bigint)
$$;
