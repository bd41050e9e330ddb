-- Alerts of a namespace, newest first: the open ones, and with p_all those that are over, at most p_limit of each.
create or replace function list_alerts(p_namespace text, p_all boolean default false, p_limit integer default 500) returns jsonb
language sql stable security definer set search_path from current
as $$
  select coalesce(jsonb_agg(alert_document(row(a.*)::alert) order by a.resolved_at is not null, a.raised_at desc, a.id), '[]')
  from (
    (select * from alert where namespace = p_namespace and resolved_at is null order by raised_at desc limit p_limit)
    union all
    (select * from alert where p_all and namespace = p_namespace and resolved_at is not null order by resolved_at desc limit p_limit)
  ) as a
$$;
