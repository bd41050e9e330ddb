-- Starts an attempt for each of these jobs and returns what a worker needs to run them, in the order of their places. The caller has
-- locked the worker row and the jobs, which are pending; a token is a random UUID, so no failover or restore can hand out the same one
-- twice. One statement: for a single job the start of a second one would cost as much as this does.
create or replace function take(p_jobs uuid[], p_worker uuid, p_claim_number integer) returns json[]
language plpgsql
as $$
declare
  v_taken json[];
begin
  with taken as (
    update job j
    set status = 'running',
        attempt = j.attempt + 1,
        token = gen_random_uuid(),
        worker = p_worker,
        claim_number = p_claim_number,
        progressed = false,
        started_at = clock()
    from job_detail d
    where j.id = any (p_jobs) and d.job_id = j.id
    returning j.id, j.token, j.attempt, d.queue, d.type, d.input, d.options, j.failures, j.lost, j.interruptions,
              j.max_attempts as "maxAttempts", j.max_lost as "maxLost",
              case when j.attempt > 1 then resume_of(j.id, j.attempt) end as resume, j.place
  )
  select array_agg(row_to_json(t) order by t.place) into v_taken from taken t;
  return coalesce(v_taken, '{}');
end
$$;

-- What an earlier attempt left for this one.
create or replace function resume_of(p_job uuid, p_attempt integer) returns json
language plpgsql stable
as $$
begin
  return (
    select json_build_object(
      'checkpoint', c.value, 'attempt', a.attempt,
      'previousEnd', json_build_object('endedAs', a.ended_as, 'code', a.end_reason ->> 'code', 'message', a.end_reason ->> 'message'))
    from attempt a
    left join checkpoint c on c.job_id = a.job_id
    where a.job_id = p_job and a.attempt = p_attempt - 1
  );
end
$$;
