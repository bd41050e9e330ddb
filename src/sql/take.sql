-- Starts an attempt for each of these jobs and returns what a worker needs to run them, as JSON texts in the order of their places. The
-- caller has locked the worker row and the jobs, which are pending; a token is a random UUID, so no failover or restore can hand out the
-- same one twice. One statement: for a single job the start of a second one would cost as much as this does.
create or replace function take(p_jobs uuid[], p_worker uuid, p_claim_number integer) returns text[]
language plpgsql
as $$
declare
  v_taken text[];
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
    returning j.place, claimed_job(j, d) as document
  )
  select array_agg(t.document order by t.place) into v_taken from taken t;
  return coalesce(v_taken, '{}');
end
$$;
