-- Appends log lines to the attempts that wrote them; p_ages says how many ms ago each was written. Lines of a stale token are
-- dropped. Answers as progress does.
create or replace function log(
  p_jobs uuid[],
  p_tokens uuid[],
  p_ages double precision[],
  p_levels text[],
  p_messages text[],
  p_fields text[]
) returns text[]
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
  v_answers text[];
begin
  perform guard();
  with fence as materialized (
    select * from fenced(p_jobs, p_tokens, 'log')
  ),
  stored as (
    insert into attempt_log (job_id, attempt, at, level, message, fields)
    select f.job_id, f.attempt, clock() - milliseconds(p_ages[f.n]), p_levels[f.n], p_messages[f.n], p_fields[f.n]::jsonb
    from fence f
    where f.attempt is not null
    order by f.n
  )
  select array_agg(answer order by n) into v_answers from fence;
  return coalesce(v_answers, '{}');
end
$$;
