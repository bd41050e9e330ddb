-- Folds what was tallied into the run, whose row the caller has locked. Nobody reads one without the other, so nothing is seen to move.
create or replace function fold_run(p_run uuid) returns void
language sql
as $$
  with gone as (
    delete from run_tally where run_id = p_run returning *
  )
  update run
  set jobs = run.jobs + s.jobs, completed = run.completed + s.completed, failed = run.failed + s.failed,
      cancelled = run.cancelled + s.cancelled, tokens = run.tokens + s.tokens, usd = run.usd + s.usd,
      last_filled_at = greatest(last_filled_at, s.filled_at)
  from (
    select count(*) as rows, sum(jobs) as jobs, sum(completed) as completed, sum(failed) as failed, sum(cancelled) as cancelled,
           sum(tokens) as tokens, sum(usd) as usd, max(filled_at) as filled_at
    from gone
  ) as s
  where run.id = p_run and s.rows > 0
$$;
