-- Workers that have ended, or have no row at all, and still hold running jobs. Steps from worker to worker through the
-- index, so that the cost is the number of workers with running jobs, not of jobs.
create or replace function workers_gone(p_namespace text) returns uuid[]
language sql stable
as $$
  with recursive holder as (
    (select j.worker from job j where j.namespace = p_namespace and j.status = 'running' order by j.worker limit 1)
    union all
    select (
      select j.worker from job j
      where j.namespace = p_namespace and j.status = 'running' and j.worker > holder.worker
      order by j.worker limit 1
    )
    from holder
    where holder.worker is not null
  )
  select coalesce(array_agg(h.worker), '{}')
  from holder h
  left join worker w on w.incarnation = h.worker
  where h.worker is not null and (w.incarnation is null or w.ended_at is not null)
$$;
