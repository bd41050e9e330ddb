-- Starts an attempt for each of these jobs of one lane and returns what a worker needs to run them, as JSON text, in the order of their
-- places. The caller has locked the worker row and the jobs, which are pending, so that they stay where they are: they are
-- found by place in the table, and no index is read. A token is a random UUID, so no failover or restore can hand out the same one
-- twice. One statement: for a single job the start of a second one would cost as much as this does. The details come by one walk of their
-- primary key for all ids; a look for each job costs a tenth more.
create or replace function take(p_jobs uuid[], p_rows tid[], p_worker uuid, p_claim_number integer) returns text
language plpgsql set enable_hashjoin = on set enable_nestloop = off
as $$
declare
  v_taken text;
begin
  with taken as (
    update job j
    set attempt = j.attempt + 1,
        token = gen_random_uuid(),
        worker = p_worker,
        claim_number = p_claim_number,
        holds_key = j.concurrency_key is not null,
        progressed = false,
        started_at = clock()
    where j.ctid = any (p_rows)
    returning j.id, j.token, j.attempt, j.failures, j.run_id, j.place
  )
  select claimed_group(
    (select queue from job_detail where job_id = p_jobs[1]),
    (select type from job_detail where job_id = p_jobs[1]),
    string_agg(claimed_job(t.id, t.token, t.attempt, t.failures, t.run_id, d.input, d.options), ',' order by t.place)
  ) into v_taken
  from taken t
  join job_detail d on d.job_id = any (p_jobs) and d.job_id = t.id;
  return v_taken;
end
$$;
