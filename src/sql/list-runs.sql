-- Runs, the newest first. p_before: only those older than this id.
create or replace function list_runs(p_namespace text, p_statuses text[] default null, p_before uuid default null, p_limit integer default 50)
returns jsonb
language sql stable security definer set search_path from current
as $$
  select coalesce(jsonb_agg(run_document(row(t.*)::run_truth) order by t.id desc), '[]')
  from (
    select *
    from run_truth
    where namespace = p_namespace and (p_before is null or id < p_before) and (p_statuses is null or status::text = any (p_statuses))
    order by id desc
    limit p_limit
  ) as t
$$;
