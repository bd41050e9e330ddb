-- Says that somebody looks at these alerts. Who was first is kept. Answers: acknowledged | resolved (it is over) | not_found.
create or replace function acknowledge_alerts(p_namespace text, p_alerts uuid[], p_by text default null) returns text[]
language plpgsql security definer set search_path from current
as $$
begin
  perform guard();
  perform 1 from alert where id = any (p_alerts) and namespace = p_namespace order by id for no key update;
  with acknowledged as (
    update alert
    set acknowledged_at = clock(), acknowledged_by = left(p_by, 200)
    where id = any (p_alerts) and namespace = p_namespace and resolved_at is null and acknowledged_at is null
    returning *
  )
  insert into event (at, namespace, kind, job_ids, data)
  select clock(), p_namespace, 'alert.acknowledged', '{}', alert_document(row(a.*)::alert) from acknowledged a;
  return array(
    select case when a.id is null then 'not_found' when a.resolved_at is not null then 'resolved' else 'acknowledged' end
    from unnest(p_alerts) with ordinality as p (id, n)
    left join alert a on a.id = p.id and a.namespace = p_namespace
    order by p.n
  );
end
$$;
