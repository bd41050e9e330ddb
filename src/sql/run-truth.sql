-- The one truth about runs: what was folded in and what was not, together exact in whatever snapshot they are read. left_over counts
-- the jobs that have not ended.
create or replace view run_truth as
select
  r.id,
  r.namespace,
  r.name,
  r.status,
  r.stage,
  r.criteria,
  r.target,
  r.max_failed,
  r.budget_tokens,
  r.budget_usd,
  r.fill_grace_ms,
  r.filled,
  r.keeps_rest,
  r.created_at,
  r.finished_at,
  r.end_reason,
  greatest(r.last_filled_at, t.filled_at) as last_filled_at,
  r.emptied_at,
  r.jobs + t.jobs as jobs,
  r.completed + t.completed as completed,
  r.failed + t.failed as failed,
  r.cancelled + t.cancelled as cancelled,
  r.tokens + t.tokens as tokens,
  r.usd + t.usd as usd,
  r.jobs + t.jobs - r.completed - t.completed - r.failed - t.failed - r.cancelled - t.cancelled as left_over
from run r
cross join lateral (
  select coalesce(sum(jobs), 0)::bigint as jobs, coalesce(sum(completed), 0)::bigint as completed,
         coalesce(sum(failed), 0)::bigint as failed, coalesce(sum(cancelled), 0)::bigint as cancelled,
         coalesce(sum(tokens), 0)::bigint as tokens, coalesce(sum(usd), 0) as usd, max(filled_at) as filled_at
  from run_tally
  where run_id = r.id
) as t;
