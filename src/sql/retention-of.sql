-- How long a namespace keeps what has ended, and how far dropping has come.
create or replace function retention_of(p_namespace text) returns jsonb
language sql stable security definer set search_path from current
as $$
  select jsonb_build_object(
    'namespace', p_namespace,
    'keepMs', case when r.namespace is null then keep_default_ms() else r.keep_ms end,
    'keepCount', r.keep_count,
    'archive', coalesce(r.archive, false),
    'passedAt', iso(r.passed_at),
    'dueAt', case when isfinite(r.due_at) and (r.keep_ms is not null or r.keep_count is not null) then iso(r.due_at) end,
    'dropped', coalesce(r.dropped, 0),
    'problem', r.problem)
  from (select) x
  left join retention r on r.namespace = p_namespace
$$;
