-- How many of these shutdowns ended how.
create or replace function shutdown_counts(p_shutdowns text[]) returns jsonb
language sql immutable
as $$
  select jsonb_build_object(
    'graceful', count(*) filter (where s = 'graceful'),
    'timedOut', count(*) filter (where s = 'timed_out'),
    'crashed', count(*) filter (where s = 'crashed'),
    'successRate', round(count(*) filter (where s = 'graceful')::numeric / nullif(count(s), 0), 4))
  from unnest(p_shutdowns) as s
$$;

-- How the workers of a namespace that ended within p_within_ms were shut down, by machine and version. successRate: the graceful of
-- all; null where none has ended.
create or replace function shutdowns(p_namespace text, p_within_ms bigint default 604800000) returns jsonb
language sql stable security definer set search_path from current
as $$
  select coalesce(jsonb_agg(jsonb_build_object('machineId', machine_id, 'version', version) || counts order by machine_id, version), '[]')
  from (
    select machine_id, version, shutdown_counts(array_agg(shutdown)) as counts
    from worker_truth
    where namespace = p_namespace and ended_at > clock() - milliseconds(p_within_ms) and shutdown is not null
    group by machine_id, version
  ) as ended
$$;
