-- Keeps the last checkpoint of each job, durable when this returns. Answers: stored | cancelling (stored, and cancel was
-- asked) | lease_lost. Where somebody else holds a job for more than half a second, nothing is stored and the error is 55P03.
create or replace function checkpoint(p_jobs uuid[], p_tokens uuid[], p_values text[]) returns text[]
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan set jit = off
  set lock_timeout = '500ms'
as $$
declare
  v_answers text[];
begin
  perform guard();
  if exists (select from unnest(p_values) as value where octet_length(value) > value_bytes_max()) then
    raise exception using errcode = '54000', message = format('a value is larger than %s bytes', value_bytes_max());
  end if;
  with fence as materialized (
    select * from fenced(p_jobs, p_tokens, 'checkpoint')
  ),
  stored as (
    insert into checkpoint as c (job_id, attempt, value, at)
    select distinct on (f.job_id) f.job_id, f.attempt, p_values[f.n]::jsonb, clock()
    from fence f
    where f.attempt is not null
    order by f.job_id, f.n desc
    on conflict (job_id) do update set attempt = excluded.attempt, value = excluded.value, at = excluded.at
  )
  select array_agg(answer order by n) into v_answers from fence;
  return coalesce(v_answers, '{}');
end
$$;
