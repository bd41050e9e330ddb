-- The feed of events after a position, in an order in which none can appear behind the reader: ids commit out of order, so
-- only events of transactions older than every running one are shown. Position: "transaction:id".
create or replace function read_events(p_namespace text, p_after text default null, p_limit integer default 500) returns jsonb
language sql stable security definer set search_path from current
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'position', e.transaction_id || ':' || e.id, 'at', iso(e.at), 'kind', e.kind, 'jobIds', e.job_ids,
    'workerId', d.id, 'data', e.data
  ) order by e.transaction_id, e.id), '[]')
  from (
    select * from event
    where namespace = p_namespace
      and (transaction_id, id) > (coalesce(split_part(p_after, ':', 1), '0')::xid8, coalesce(split_part(p_after, ':', 2), '0')::bigint)
      and transaction_id < pg_snapshot_xmin(pg_current_snapshot())
    order by transaction_id, id
    limit p_limit
  ) as e
  left join worker_detail d on d.incarnation = e.worker
$$;

-- The position of the newest event that read_events may show now: where a reader starts that wants only what is to come.
create or replace function events_end(p_namespace text) returns text
language sql stable security definer set search_path from current
as $$
  select coalesce((
    select transaction_id || ':' || id from event
    where namespace = p_namespace and transaction_id < pg_snapshot_xmin(pg_current_snapshot())
    order by transaction_id desc, id desc limit 1
  ), '0:0')
$$;
