-- Locks the jobs, in id order, whose token this is, until the commit, so that nobody can take them in between, and returns
-- for each asked pair the attempt, null where the token is stale, and what to answer: stored | cancelling (stored, and cancel was
-- asked) | lease_lost. A refused write is recorded.
-- A checkpoint or progress is noted on the job: a loss after it starts the count of losses anew.
create or replace function fenced(p_jobs uuid[], p_tokens uuid[], p_write text)
returns table (n bigint, job_id uuid, attempt integer, answer text)
language plpgsql set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  v_stale bigint[] := '{}';
begin
  if p_write in ('checkpoint', 'progress') then
    perform 1 from job where id = any (p_jobs) order by id for no key update;
    -- A token is that of one attempt alone. No join, which could begin with all jobs.
    update job set progressed = true where id = any (p_jobs) and token = any (p_tokens) and not progressed;
  else
    perform 1 from job where id = any (p_jobs) order by id for share;
  end if;
  for n, job_id, attempt, answer in
    select o.n, o.job_id, j.attempt,
           case when j.token is null then 'lease_lost' when j.cancel_requested_at is not null then 'cancelling' else 'stored' end
    from unnest(p_jobs, p_tokens) with ordinality as o (job_id, token, n)
    left join job j on j.id = o.job_id and j.token = o.token
  loop
    if attempt is null then
      v_stale := v_stale || n;
    end if;
    return next;
  end loop;
  if v_stale <> '{}' then
    insert into event (at, namespace, kind, job_ids, worker, data)
    select clock(), d.namespace, 'job.stale_write', array[d.job_id], a.worker, jsonb_build_object('write', p_write, 'attempt', a.attempt)
    from unnest(v_stale) as stale (n)
    join job_detail d on d.job_id = p_jobs[stale.n]
    left join attempt a on a.job_id = d.job_id and a.token = p_tokens[stale.n];
  end if;
end
$$;
