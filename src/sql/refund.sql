-- Takes back what jobs were charged for the loss of a worker that has lived on; returns these jobs. The caller holds the worker row.
--
-- What counts no more is not taken back: progress, a failure, a retry or a resume has begun the count anew since. That shows in the
-- attempts from that loss on: each says what was counted after it, so a count that does not follow from the one before began anew.
-- A job that somebody holds at this moment is passed over: it is looked at again when the worker is heard again, and else stays charged.
create or replace function refund(p_worker uuid) returns uuid[]
language plpgsql set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off
as $$
declare
  v_lost uuid[] := array(
    select job_id from attempt where worker = p_worker and ended_as = 'lost' and not coalesce(end_reason, '{}') ? 'falseAlarm'
  );
  v_held uuid[];
  v_count uuid[];
begin
  v_held := array(select id from job where id = any (v_lost) order by id for no key update skip locked);
  v_count := array(
    select a.job_id
    from attempt a
    join job j on j.id = a.job_id
    where a.worker = p_worker and a.ended_as = 'lost' and a.job_id = any (v_held)
      and j.lost > 0 and j.lost = (select n.lost from attempt n where n.job_id = a.job_id order by n.attempt desc limit 1)
      and not exists (
        select from (
          select b.lost, lag(b.lost) over (order by b.attempt) as before,
                 b.ended_as = 'lost' and coalesce(w.end_charge, 'lost') = 'lost' and not coalesce(b.end_reason, '{}') ? 'falseAlarm' as charged
          from attempt b
          left join worker w on w.incarnation = b.worker
          where b.job_id = a.job_id and b.attempt >= a.attempt
        ) as later
        where later.lost <> later.before + case when later.charged then 1 else 0 end
      )
  );
  update job set lost = lost - 1 where id = any (v_count);
  update attempt b set lost = b.lost - 1
  from attempt a
  where a.worker = p_worker and a.ended_as = 'lost' and a.job_id = any (v_count) and b.job_id = a.job_id and b.attempt >= a.attempt;
  v_held := array(
    select job_id from attempt
    where worker = p_worker and ended_as = 'lost' and job_id = any (v_lost)
      and (job_id = any (v_held) or not exists (select from job where id = attempt.job_id))
    order by job_id, attempt
    for no key update skip locked
  );
  update attempt set end_reason = coalesce(end_reason, '{}') || '{"falseAlarm": true}'
  where worker = p_worker and ended_as = 'lost' and job_id = any (v_held);
  return v_held;
end
$$;
