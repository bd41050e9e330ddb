-- The one truth about workers, computed when it is read: status from the database's clock and the last sign of life.
--   online    seen within two of its beats            late      silent longer, or not connected; its lease still holds
--   draining  online, but takes no new jobs           offline   it ended, or its lease has lapsed
--   unhealthy renews, but says that its claims or its event loop are stuck, so it takes no jobs
-- Whether its reserved connection is on the server is looked up here and now: without it a worker takes nothing. The long lease of an
-- idle worker is granted to that connection; once it is gone, silence for the plain lease is enough to be offline.
-- And how the process of one that has ended was shut down, which is read from how its row was ended. Null: its process went on, as
-- it was evicted, fenced itself, or was heard again.
--   graceful  it ended in order        timed_out  something of it was cut, or it was killed while it drained
--   crashed   it was lost, or it brought its end on itself
create or replace view worker_truth as
select
  w.incarnation,
  d.id,
  w.namespace,
  w.machine_id,
  d.hostname,
  d.pid,
  d.kind,
  d.version,
  d.command,
  d.concurrency,
  d.queues,
  d.types,
  d.labels,
  d.parent_pid,
  d.boot_id,
  d.process_started_at,
  d.registered_at,
  d.listens,
  w.seen_at,
  w.lease_ms,
  w.low_claim,
  w.beat_ms,
  w.loop_lag_ms,
  w.spool_depth,
  w.spool_age_ms,
  w.memory_bytes,
  w.clock_ahead_ms,
  w.backend_pid,
  w.stuck,
  w.ended_at,
  w.drain_requested_at,
  c.gone as connection_gone,
  d.end_reason,
  d.run_id,
  least(w.until, clock() + milliseconds(w.span_ms)) as lease_expires_at,
  judged_after(w.until, w.span_ms, w.writable_mark_ms, tick) as judged_after,
  w.ended_at is null and w.until > clock() as lease_holds,
  case
    when w.ended_at is not null or w.until <= clock() then 'offline'
    when c.gone and clock() - w.seen_at > milliseconds(w.lease_ms) then 'offline'
    when c.gone or clock() - w.seen_at > milliseconds(2 * w.beat_ms) then 'late'
    when w.stuck is not null then 'unhealthy'
    when w.draining_at is not null or w.drain_requested_at is not null then 'draining'
    else 'online'
  end as status,
  case
    when w.ended_at is null or w.end_layer is null or w.end_charge = 'uncharged' then null
    when w.end_layer = 0 and w.end_charge = 'interrupted' then coalesce(d.end_reason #>> '{shutdown,outcome}', 'graceful')
    when w.end_layer > 0 and d.end_reason ? 'heardAgainAt' then null
    when w.end_charge = 'interrupted' then 'timed_out'
    else 'crashed'
  end as shutdown
from worker w
join worker_detail d using (incarnation)
cross join tick
cross join lateral (
  select w.ended_at is null and not connected(w.backend_pid) as gone
) as c;
