-- Log lines of a job's attempts after a line number, oldest first; p_attempt null means all attempts.
create or replace function job_logs(p_namespace text, p_job uuid, p_attempt integer default null, p_after bigint default 0, p_limit integer default 1000)
returns jsonb
language sql stable security definer set search_path from current
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'line', l.line, 'attempt', l.attempt, 'at', iso(l.at), 'level', l.level, 'message', l.message, 'fields', l.fields
  ) order by l.line), '[]')
  from (
    select * from attempt_log
    where job_id = p_job and line > p_after and (p_attempt is null or attempt = p_attempt)
      and exists (select from job_detail where job_id = p_job and namespace = p_namespace)
    order by line
    limit p_limit
  ) as l
$$;
