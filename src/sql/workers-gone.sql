-- Workers that have ended and may still hold running jobs. p_compare also finds those that have no row at all, as a restored copy may
-- lack one: it steps from worker to worker through the index, so that the cost is the number of workers, not of jobs.
create or replace function workers_gone(p_namespace text, p_compare boolean) returns uuid[]
language sql stable
as $$
  with recursive holder as (
    (select c.worker from claimed c where p_compare order by c.worker limit 1)
    union all
    select (select c.worker from claimed c where c.worker > holder.worker order by c.worker limit 1)
    from holder
    where holder.worker is not null
  )
  select coalesce(array_agg(g.incarnation), '{}')
  from (
    select incarnation from worker where namespace = p_namespace and ended_at is not null and emptied_at is null
    union
    select h.worker
    from holder h
    left join worker w on w.incarnation = h.worker
    where h.worker is not null and w.incarnation is null
      and exists (select from held_job j where j.holder = h.worker and j.namespace = p_namespace)
  ) as g
$$;
