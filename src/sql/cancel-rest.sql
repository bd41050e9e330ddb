-- Cancels a batch of what an ended run still holds, and says how many that were. The caller has locked the run. What somebody holds at
-- this moment is passed over: a later pass finds it.
--
--   walk   over all jobs of the run, batch by batch, rest_from says how far it has come
--   rest   for a minute after a walk has come to its end, rest_from says when: looks only at what waits or runs in the lanes of the run,
--          as a run may have millions of jobs that have ended, and one that still stops
create or replace function cancel_rest(p_run uuid, p_limit integer) returns integer
language plpgsql
as $$
declare
  v_jobs uuid[];
  v_from uuid := coalesce((select rest_from from run where id = p_run), '00000000-0000-0000-0000-000000000000');
  v_ended_at timestamptz := rest_walked_at(v_from);
begin
  if v_ended_at between clock() - interval '1 minute' and clock() then
    v_jobs := array(
      select j.id
      from (select distinct id from lane where run_id = p_run) as l
      cross join lateral (
        (
          select id from job
          where lane = l.id and standing = 'pending' and place is not null and cancel_requested_at is null
          limit p_limit
        )
        union all
        (
          select id from job
          where lane = l.id and standing = 'pending' and place is null and not parked and cancel_requested_at is null
          limit p_limit
        )
      ) as j
    );
    v_jobs := array(
      select id from job where id = any (v_jobs) and cancel_requested_at is null order by id limit p_limit for no key update skip locked
    );
  else
    if v_ended_at is not null then
      v_from := '00000000-0000-0000-0000-000000000000';
    end if;
    v_jobs := array(
      select j.id
      from job_detail d
      -- Offset 0: each is looked up, as a plan that was made for empty tables would read all jobs for each.
      cross join lateral (
        select id from job where id = d.job_id and cancel_requested_at is null offset 0 for no key update skip locked
      ) as j
      where d.run_id = p_run and d.job_id > v_from
      order by d.job_id
      limit p_limit
    );
    update run set rest_from = case when cardinality(v_jobs) = p_limit then v_jobs[p_limit] else rest_mark(clock()) end
    where id = p_run;
  end if;
  if cardinality(v_jobs) > 0 then
    perform cancel(namespace, v_jobs, jsonb_build_object('code', 'run_ended', 'message', format('its run %s ended as %s', name, status)))
    from run where id = p_run;
  end if;
  return cardinality(v_jobs);
end
$$;

create or replace function rest_batch() returns integer language sql immutable parallel safe as 'select 1000';

-- When a walk came to its end, written as what is no id of a job: those begin with the milliseconds of their making, and these with more
-- of them than there will be for eight thousand years.
create or replace function rest_mark(p_at timestamptz) returns uuid
language sql immutable
as $$
  select ('ffff' || lpad(to_hex((extract(epoch from p_at) * 1000)::bigint), 12, '0') || repeat('0', 16))::uuid
$$;

-- Null: the walk has not come to its end.
create or replace function rest_walked_at(p_from uuid) returns timestamptz
language sql immutable
as $$
  select case when p_from >= 'ffff0000-0000-0000-0000-000000000000' then
    to_timestamp(('x' || substr(replace(p_from::text, '-', ''), 5, 12))::bit(48)::bigint / 1000.0) end
$$;
