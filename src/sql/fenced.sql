-- Locks the jobs, in id order, whose token this is, until the commit, so that nobody can take them in between, and returns
-- for each asked pair the attempt and whether cancel was asked; null where the token is stale. A refused write is recorded.
-- A checkpoint or progress is noted on the job: a loss after it starts the count of losses anew.
create or replace function fenced(p_jobs uuid[], p_tokens uuid[], p_write text)
returns table (n bigint, job_id uuid, attempt integer, cancelling boolean)
language plpgsql
as $$
#variable_conflict use_column
begin
  if p_write in ('checkpoint', 'progress') then
    perform 1 from job where id = any (p_jobs) order by id for no key update;
    update job set progressed = true
    from unnest(p_jobs, p_tokens) as o (job_id, token)
    where job.id = o.job_id and job.token = o.token and not job.progressed;
  else
    perform 1 from job where id = any (p_jobs) order by id for share;
  end if;
  return query
    select o.n, o.job_id, j.attempt, j.cancel_requested_at is not null
    from unnest(p_jobs, p_tokens) with ordinality as o (job_id, token, n)
    left join job j on j.id = o.job_id and j.token = o.token;
  insert into event (at, namespace, kind, job_ids, worker, data)
  select clock(), d.namespace, 'job.stale_write', array[o.job_id], a.worker, jsonb_build_object('write', p_write, 'attempt', a.attempt)
  from unnest(p_jobs, p_tokens) as o (job_id, token)
  join job_detail d on d.job_id = o.job_id
  left join job j on j.id = o.job_id
  left join attempt a on a.job_id = o.job_id and a.token = o.token
  where j.token is distinct from o.token;
end
$$;
