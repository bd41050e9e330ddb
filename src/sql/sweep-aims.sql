-- The sweep's part in aimed jobs. One that waits, and whose target is offline or whose deadline has passed, goes by its if_offline:
--   wait   has failed, once the deadline has passed        target_deadline
--   fail   has failed, at either                           target_offline | target_deadline
--   any    is aimed no more: any worker takes it           job.untargeted
-- At most p_limit jobs; says whether there may be more. A target is offline when no worker of it holds a lease. A job that has begun
-- and comes back is still aimed, and its deadline, which is for the first start, is over. p_compare also forgets jobs that have ended.
create or replace function sweep_aims(p_namespace text, p_limit integer, p_compare boolean) returns boolean
language plpgsql
as $$
declare
  v_due uuid[];
  v_any uuid[];
  v_failed uuid[];
begin
  if not exists (select from aim where namespace = p_namespace) then
    return false;
  end if;
  if p_compare or not leases_exist(p_namespace) then
    delete from aim where job_id = any (array(
      select a.job_id from aim a
      where a.namespace = p_namespace and not exists (select from job where job.id = a.job_id)
      order by a.job_id
      for update of a skip locked
    ));
  end if;
  -- Begun since it was aimed: a job that was retried may have begun long before.
  update aim set deadline = null where job_id = any (array(
    select a.job_id from aim a
    where a.namespace = p_namespace and a.deadline <= clock()
      and exists (select from job where job.id = a.job_id and job.started_at >= a.due_at)
    order by a.job_id
    for no key update of a skip locked
  ));
  delete from aim where job_id = any (array(
    select a.job_id from aim a
    where a.namespace = p_namespace and a.if_offline = 'wait' and a.deadline is null
    order by a.job_id
    for update skip locked
  ));

  v_due := array(
    select j.id
    from (
      select a.job_id from aim a where a.namespace = p_namespace and a.deadline <= clock()
      union
      select a.job_id from aim a
      where a.namespace = p_namespace and a.if_offline <> 'wait'
        and a.target = any (array(select t.target from aimed_targets(p_namespace) as t (target) where not target_online(p_namespace, t.target)))
    ) as a
    join job j on j.id = a.job_id
    where j.standing = 'pending' and j.token is null and j.run_at <= clock()
    order by j.id
    limit p_limit
    for no key update of j skip locked
  );
  if cardinality(v_due) = 0 then
    return false;
  end if;
  v_any := array(select job_id from aim where job_id = any (v_due) and if_offline = 'any');
  v_failed := array(select job_id from aim where job_id = any (v_due) and if_offline <> 'any');

  perform end_waiting(v_failed, 'failed');
  update job_detail d
  set end_reason = jsonb_build_object(
    'code', case when target_online(p_namespace, d.target) then 'target_deadline' else 'target_offline' end,
    'message', format('its target %s is %s', d.target,
      case when target_online(p_namespace, d.target) then 'online, and has not begun it in time' else 'offline' end))
  where d.job_id = any (v_failed);
  insert into event (at, namespace, kind, job_ids, data)
  select clock(), p_namespace, 'job.failed', array[d.job_id], d.end_reason from job_detail d where d.job_id = any (v_failed) order by d.job_id;

  insert into event (at, namespace, kind, job_ids, data)
  select clock(), p_namespace, 'job.untargeted', array[d.job_id],
         jsonb_build_object('target', d.target, 'message', format('its target %s did not take it; any worker may', d.target))
  from job_detail d where d.job_id = any (v_any) order by d.job_id;
  update job_detail set target = null where job_id = any (v_any);
  perform know_lane(l.lane, l.namespace, l.queue, l.type, l.priority, l.run_id, null)
  from (
    select distinct lane_of(namespace, queue, type, priority, run_id) as lane, namespace, queue, type, priority, run_id
    from job_detail where job_id = any (v_any)
  ) as l;
  update job j
  set lane = lane_of(d.namespace, d.queue, d.type, d.priority, d.run_id), place = case when j.place is not null then next_place() end
  from job_detail d
  where j.id = any (v_any) and d.job_id = j.id;
  delete from aim where job_id = any (v_due);
  perform hint(p_namespace, 'pending:*');
  return cardinality(v_due) >= p_limit;
end
$$;

-- The targets of jobs that do not wait for them: stepped from one to the next through the index, as many jobs may have the same.
create or replace function aimed_targets(p_namespace text) returns setof text
language sql stable
as $$
  with recursive step as (
    (select target from aim where namespace = p_namespace and if_offline <> 'wait' order by target limit 1)
    union all
    select (select a.target from aim a where a.namespace = p_namespace and a.if_offline <> 'wait' and a.target > step.target order by a.target limit 1)
    from step
    where step.target is not null
  )
  select target from step where target is not null
$$;

create or replace function target_online(p_namespace text, p_target text) returns boolean
language sql stable
as $$
  select exists (
    select from worker_truth w where w.namespace = p_namespace and w.lease_holds and fits_target(row(w.*)::worker_truth, p_target)
  )
$$;

-- What `why` says of an aimed job.
create or replace function aim_document(t job_truth) returns jsonb
language sql stable
as $$
  select jsonb_build_object(
    'online', target_online(t.namespace, t.target),
    'lastSeenAt', (
      select iso(max(w.seen_at)) from worker_truth w where w.namespace = t.namespace and fits_target(row(w.*)::worker_truth, t.target)),
    'ifOffline', coalesce(t.options ->> 'ifOffline', 'wait'),
    'deadline', (select iso(a.deadline) from aim a where a.job_id = t.id))
$$;
