-- Deletes events that need not be kept: older than the jobs that are, and not about one job that is. Looks at most at 1,000 events
-- after the position p_after. The last one that goes is written down, so that a reader of the feed which stands before it is told.
--
-- The walk ends where all events are too young; a few that were written while the clock was ahead do not end it. None goes that
-- read_events does not show yet: nobody could have read it.
--
-- Answer: dropped, how many; after: where to go on, or null at the end.
create or replace function drop_events(p_namespace text, p_below uuid default null, p_after text default null) returns json
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off set lock_timeout = '200ms'
as $$
declare
  v_retention retention;
  v_cut timestamptz;
  v_looked integer;
  v_young integer;
  v_last text;
  v_dropped integer;
  v_transaction xid8;
  v_id bigint;
begin
  perform guard();
  select * into v_retention from retention where namespace = p_namespace for no key update;
  v_cut := greatest(
    clock() - milliseconds(v_retention.keep_ms), case when v_retention.keep_count is not null then moment_of(p_below) end);
  if v_cut > clock() - milliseconds(keep_min_ms()) then
    v_cut := clock() - milliseconds(keep_min_ms());
  end if;
  with looked as materialized (
    select e.transaction_id, e.id, e.at, coalesce(e.at < v_cut, false) as old, e.kind, e.job_ids
    from event e
    where e.namespace = p_namespace
      and (e.transaction_id, e.id)
        > (coalesce(split_part(p_after, ':', 1), '0')::xid8, coalesce(split_part(p_after, ':', 2), '0')::bigint)
      and e.transaction_id < pg_snapshot_xmin(pg_current_snapshot())
    order by e.transaction_id, e.id
    limit 1000
  ),
  gone as (
    delete from event e
    using looked l
    where e.namespace = p_namespace and e.transaction_id = l.transaction_id and e.id = l.id and l.old
      and not (cardinality(l.job_ids) = 1 and exists (select from job_detail d where d.job_id = l.job_ids[1]))
    returning e.transaction_id, e.id
  ),
  last as (
    select transaction_id, id from gone order by transaction_id desc, id desc limit 1
  )
  select (select count(*) from looked),
         (select count(*) from looked where not old and at <= clock()),
         (select transaction_id || ':' || id from looked order by transaction_id desc, id desc limit 1),
         (select count(*) from gone), (select transaction_id from last), (select id from last)
  into v_looked, v_young, v_last, v_dropped, v_transaction, v_id;
  update retention
  set events_transaction = case when moves then v_transaction else events_transaction end,
      events_id = case when moves then v_id else events_id end,
      due_at = clock() + milliseconds(retention_lease_ms())
  from (select coalesce((v_transaction, v_id) > (v_retention.events_transaction, v_retention.events_id), v_id is not null) as moves) as x
  where namespace = p_namespace;
  return json_build_object('dropped', v_dropped, 'after', case when v_looked = 1000 and v_young < v_looked then v_last end);
end
$$;
