-- Counts and ages of a namespace. Each count stops at 10,001, which means "more than 10,000": an exact number of millions is
-- not worth walking them. Shutdowns are those of the last seven days.
create or replace function stats(p_namespace text) returns jsonb
language sql stable security definer set search_path from current
as $$
  select jsonb_build_object(
    'jobs', (
      select jsonb_object_agg(s.status, s.count)
      from (
        select w.state as status, (
          select count(*) from (
            select from job j
            where j.lane in (select id | front from lane cross join generate_series(0, 1) as front where namespace = p_namespace)
              and j.standing = 'pending' and j.token is null
              and case when j.failures > 0 then 'retrying' when j.run_at > clock() then 'scheduled' else 'pending' end = w.state
            limit 10001) x
        ) as count
        from unnest('{pending,scheduled,retrying}'::text[]) as w (state)
        union all
        select a.status::text, (select count(*) from (select from job where namespace = p_namespace and standing = a.status and token is null limit 10001) x)
        from unnest('{blocked,held}'::job_status[]) as a (status)
        union all
        select r.state, (select count(*) from job_truth t where t.namespace = p_namespace and t.state = r.state and t.id in (select h.id from held_job h where h.namespace = p_namespace))
        from unnest('{running,cancelling,stalled,lost}'::text[]) as r (state)
        union all
        select e.status::text, (
          select count(*) from (
            select from job_stored t where t.namespace = p_namespace and t.status = e.status limit 10001) x
        )
        from unnest('{completed,failed,cancelled}'::job_status[]) as e (status)
      ) as s
    ),
    'oldestPendingAgeMs', (
      select milliseconds_between(min(run_at), clock()) from (
        select run_at from job where namespace = p_namespace and standing = 'pending' and token is null and run_at <= clock() order by run_at limit 10001
      ) x
    ),
    'workers', (
      select jsonb_build_object(
        'online', count(*) filter (where status = 'online'), 'draining', count(*) filter (where status = 'draining'),
        'late', count(*) filter (where status = 'late'),
        'unhealthy', count(*) filter (where status = 'unhealthy'), 'offline', count(*) filter (where status = 'offline' and ended_at is null))
      from worker_truth where namespace = p_namespace and ended_at is null
    ),
    'shutdowns', (
      select shutdown_counts(array_agg(shutdown))
      from worker_truth
      where namespace = p_namespace and ended_at > clock() - interval '7 days' and shutdown is not null
    )
  )
$$;
