-- A run as the JSON that program, client and API show. A job counts as running while a live lease holds it.
create or replace function run_document(t run_truth) returns jsonb
language sql stable
as $$
  select jsonb_build_object(
    'id', t.id, 'name', t.name, 'namespace', t.namespace, 'status', t.status, 'stage', t.stage, 'criteria', t.criteria, 'target', t.target,
    'counts', jsonb_build_object(
      'total', t.jobs, 'waiting', t.left_over - x.running, 'running', x.running, 'completed', t.completed, 'failed', t.failed,
      'cancelled', t.cancelled),
    'progress', jsonb_build_object('done', t.completed, 'failed', t.failed, 'target', coalesce(t.target, t.jobs)),
    'cost', jsonb_build_object('tokens', t.tokens, 'usd', trim_scale(t.usd)),
    'budget', case when coalesce(t.budget_tokens, t.budget_usd) is not null then
      jsonb_build_object('tokens', t.budget_tokens, 'usd', trim_scale(t.budget_usd)) end,
    'rules', jsonb_build_object('maxFailed', t.max_failed, 'fillGraceMs', t.fill_grace_ms, 'rest', case when t.keeps_rest then 'keep' else 'cancel' end),
    'filled', t.filled, 'lastFilledAt', iso(t.last_filled_at),
    'createdAt', iso(t.created_at), 'finishedAt', iso(t.finished_at), 'endReason', t.end_reason, 'now', iso(clock())
  )
  from (
    select case when t.left_over = 0 then 0 else (
      select count(*)
      from worker w
      join held_job j on j.holder = w.incarnation and j.claim >= w.low_claim
      where w.namespace = t.namespace and w.ended_at is null and w.until > clock() and j.run_id = t.id
    ) end as running
  ) as x
$$;
