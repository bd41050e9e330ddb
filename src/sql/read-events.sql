-- The feed of events after a position, in an order in which none can appear behind the reader: ids commit out of order, so
-- only events of transactions older than every running one are shown. Position: "transaction:id".
--
-- A position before the last event that retention has dropped is refused: what came after it would be missed in silence.
create or replace function read_events(p_namespace text, p_after text default null, p_limit integer default 500) returns jsonb
language plpgsql stable security definer set search_path from current
as $$
declare
  v_transaction xid8 := coalesce(split_part(p_after, ':', 1), '0')::xid8;
  v_id bigint := coalesce(split_part(p_after, ':', 2), '0')::bigint;
begin
  if p_after is not null and exists (
    select from retention r where r.namespace = p_namespace and (v_transaction, v_id) < (r.events_transaction, r.events_id)
  ) then
    raise exception using errcode = 'LH009', message = format('events after the position %s have been dropped', p_after),
      hint = 'Go on from events_dropped, and read from jobs themselves what was missed.';
  end if;
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'position', e.transaction_id || ':' || e.id, 'at', iso(e.at), 'kind', e.kind, 'jobIds', e.job_ids,
      'workerId', d.id, 'data', e.data
    ) order by e.transaction_id, e.id), '[]')
    from (
      select * from event
      where namespace = p_namespace
        and (transaction_id, id) > (v_transaction, v_id)
        and transaction_id < pg_snapshot_xmin(pg_current_snapshot())
      order by transaction_id, id
      limit p_limit
    ) as e
    left join worker_detail d on d.incarnation = e.worker
  );
end
$$;

-- The position of the last event that retention has dropped.
create or replace function events_dropped(p_namespace text) returns text
language sql stable security definer set search_path from current
as $$
  select coalesce((select events_transaction || ':' || events_id from retention where namespace = p_namespace), '0:0')
$$;

-- The position of the newest event that read_events may show now: where a reader starts that wants only what is to come.
create or replace function events_end(p_namespace text) returns text
language sql stable security definer set search_path from current
as $$
  select coalesce((
    select transaction_id || ':' || id
    from (
      (
        select transaction_id, id from event
        where namespace = p_namespace and transaction_id < pg_snapshot_xmin(pg_current_snapshot())
        order by transaction_id desc, id desc limit 1
      )
      union all
      select events_transaction, events_id from retention where namespace = p_namespace and events_id is not null
    ) as e
    order by transaction_id desc, id desc
    limit 1
  ), '0:0')
$$;
