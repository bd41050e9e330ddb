-- What the rules of an active run make of it now: null while it goes on. The first that holds decides:
--   its target of completed jobs is reached                                   completed
--   all its jobs have ended, and nothing more will come (run_is_full)         completed, or error: see below
--   its budget is spent                                                       error
--   more jobs have failed than max_failed                                     error
-- When all have ended it has completed if some job has, no more have failed than max_failed (0 where none is given), and the
-- target is met by those that completed and the failures that were allowed.
create or replace function run_verdict(t run_truth) returns jsonb
language plpgsql stable
as $$
begin
  if t.status <> 'active' then
    return null;
  elsif t.completed >= t.target then
    return jsonb_build_object('status', 'completed', 'code', 'target_reached', 'message', format('%s jobs have completed', t.completed));
  elsif t.jobs > 0 and t.left_over = 0 and run_is_full(t) then
    if t.failed > coalesce(t.max_failed, 0) then
      return too_many_failed(t);
    elsif t.completed = 0 then
      return jsonb_build_object('status', 'error', 'code', 'nothing_completed',
        'message', format('all %s jobs have ended, and none has completed', t.jobs));
    elsif t.completed + t.failed < t.target then
      return jsonb_build_object('status', 'error', 'code', 'target_missed',
        'message', format('all %s jobs have ended, %s of the %s that were wanted have completed', t.jobs, t.completed, t.target));
    end if;
    return jsonb_build_object('status', 'completed', 'code', 'all_ended', 'message', format('all %s jobs have ended', t.jobs));
  elsif t.tokens >= t.budget_tokens then
    return jsonb_build_object('status', 'error', 'code', 'budget_spent',
      'message', format('%s of %s tokens are spent', t.tokens, t.budget_tokens));
  elsif t.usd >= t.budget_usd then
    return jsonb_build_object('status', 'error', 'code', 'budget_spent',
      'message', format('%s of %s USD are spent', trim_scale(t.usd), trim_scale(t.budget_usd)));
  elsif t.failed > t.max_failed then
    return too_many_failed(t);
  end if;
  return null;
end
$$;

-- Whether nobody is expected to put more jobs into a run: it holds as many as its target, whoever fills it has said so, or, where
-- nothing says how many there will be, the last one came longer ago than the grace, or will have in p_lead. An empty run is not full.
create or replace function run_is_full(t run_truth, p_lead interval default '0') returns boolean
language sql stable
as $$
  select t.filled or case when t.target is null then clock() + p_lead >= t.last_filled_at + milliseconds(t.fill_grace_ms) else t.jobs >= t.target end
$$;

create or replace function too_many_failed(t run_truth) returns jsonb
language sql stable
as $$
  select jsonb_build_object('status', 'error', 'code', 'too_many_failed',
    'message', format('%s of %s jobs have failed, and at most %s may', t.failed, t.jobs, coalesce(t.max_failed, 0)))
$$;
