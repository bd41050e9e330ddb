-- The alerts whose id is this or ends like this, over or not; at most three, the newest first.
create or replace function find_alerts(p_namespace text, p_ending text) returns jsonb
language sql stable security definer set search_path from current
as $$
  select coalesce(jsonb_agg(alert_document(row(a.*)::alert) order by a.raised_at desc, a.id), '[]')
  from (
    select *
    from alert
    where namespace = p_namespace and right(id::text, length(p_ending)) = lower(p_ending)
    order by raised_at desc, id
    limit 3
  ) as a
$$;
