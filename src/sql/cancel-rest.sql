-- Cancels a batch of what an ended run still holds, and says how many that were. The caller has locked the run. What somebody holds at
-- this moment is passed over: a later pass finds it.
--
--   walk   over all jobs of the run, batch by batch, rest_from says how far it has come
--   rest   for a minute after a walk has come to its end, rest_walked_at says when: looks only at what waits or runs in the lanes of the
--          run, as a run may have millions of jobs that have ended, and one that still stops
create or replace function cancel_rest(p_run uuid, p_limit integer) returns integer
language plpgsql
as $$
declare
  v_jobs uuid[];
  v_from uuid;
  v_walked_at timestamptz;
begin
  select rest_from, rest_walked_at into v_from, v_walked_at from run where id = p_run;
  if v_from is null and v_walked_at between clock() - interval '1 minute' and clock() then
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
    v_jobs := array(
      select j.id
      from job_detail d
      -- Offset 0: each is looked up, as a plan that was made for empty tables would read all jobs for each.
      cross join lateral (
        select id from job where id = d.job_id and cancel_requested_at is null offset 0 for no key update skip locked
      ) as j
      where d.run_id = p_run and d.job_id > coalesce(v_from, '00000000-0000-0000-0000-000000000000')
      order by d.job_id
      limit p_limit
    );
    if cardinality(v_jobs) = p_limit then
      update run set rest_from = v_jobs[p_limit] where id = p_run;
    else
      update run set rest_from = null, rest_walked_at = clock() where id = p_run;
    end if;
  end if;
  if cardinality(v_jobs) > 0 then
    perform cancel(namespace, v_jobs, jsonb_build_object('code', 'run_ended', 'message', format('its run %s ended as %s', name, status)))
    from run where id = p_run;
  end if;
  return cardinality(v_jobs);
end
$$;

create or replace function rest_batch() returns integer language sql immutable parallel safe as 'select 1000';
