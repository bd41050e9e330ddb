-- Machines of a namespace.
create or replace function list_machines(p_namespace text) returns jsonb
language plpgsql stable security definer set search_path from current
as $$
begin
  perform ask_about_missing(p_namespace);
  return (
    select coalesce(jsonb_agg(machine_document(row(t.*)::machine_truth) order by t.status desc, t.id), '[]')
    from machine_truth t
    where t.namespace = p_namespace
  );
end
$$;

-- A machine as the JSON that program, client and API show.
create or replace function machine_document(t machine_truth) returns jsonb
language sql stable
as $$
  select jsonb_build_object(
    'id', t.id, 'hostname', t.hostname, 'status', t.status, 'workersOnline', t.workers_online, 'workersTotal', t.workers_total,
    'lastSeenAt', iso(t.last_seen_at), 'lastSeenAgoMs', milliseconds_between(t.last_seen_at, clock()),
    'drainRequestedAt', iso(t.drain_requested_at), 'witnessContradictedAt', iso(t.witness_contradicted_at)
  )
$$;
