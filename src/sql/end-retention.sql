-- Ends a pass: the next is due after retention_every_ms, or, when there was a problem, after p_retry_ms.
create or replace function end_retention(p_namespace text, p_problem text default null, p_retry_ms bigint default null) returns void
language sql security definer set search_path from current set lock_timeout = '1s'
as $$
  update retention
  set due_at = clock() + milliseconds(coalesce(p_retry_ms, retention_every_ms())),
      passed_at = case when p_problem is null then clock() else passed_at end,
      problem = left(p_problem, 1000)
  where namespace = p_namespace
$$;
