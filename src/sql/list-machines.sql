-- Machines of a namespace.
create or replace function list_machines(p_namespace text) returns jsonb
language sql stable security definer set search_path from current
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', id, 'hostname', hostname, 'status', status, 'workersOnline', workers_online, 'workersTotal', workers_total,
    'lastSeenAt', iso(last_seen_at)
  ) order by status desc, id), '[]')
  from machine_truth
  where namespace = p_namespace
$$;
