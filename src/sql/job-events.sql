-- What happened to a job, oldest first: created and the attempts, read from where they are kept, and the recorded events.
create or replace function job_events(p_job uuid) returns jsonb
language sql stable
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', e.id, 'at', iso(e.at), 'kind', e.kind, 'attempt', e.attempt, 'workerId', d.id, 'message', e.message, 'data', e.data
  ) order by e.at, e.rank, e.id nulls first), '[]')
  from (
    select null::bigint as id, created_at as at, 0 as rank, 'job.created' as kind, null::integer as attempt, null::uuid as worker,
           null::text as message, null::jsonb as data
    from job_detail where job_id = p_job
    union all
    select null, started_at, 1, 'job.picked_up', attempt, worker, null, null from attempt where job_id = p_job
    union all
    select null, started_at, 1, 'job.picked_up', attempt, worker, null, null from job where id = p_job and token is not null
    union all
    select null, ended_at, 2, 'job.' || ended_as, attempt, worker, end_reason ->> 'message', end_reason
    from attempt where job_id = p_job and ended_as in ('completed', 'failed', 'cancelled')
    union all
    select id, at, 3, kind, (data ->> 'attempt')::integer, worker, data ->> 'message', data
    from event
    where job_ids[1] = p_job and kind not in ('job.completed', 'job.picked_up')
      and kind not in ('job.failed', 'job.retrying', 'job.cancelled')
      and cardinality(job_ids) = 1
    union all
    select id, at, 3, kind, null, worker, data ->> 'message', data
    from event
    where job_ids[1] = p_job and kind in ('job.cancelled', 'job.failed') and worker is null
  ) as e
  left join worker_detail d on d.incarnation = e.worker
$$;
