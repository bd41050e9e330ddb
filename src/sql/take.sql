-- Starts an attempt for each of these jobs. The caller has locked the worker row and the jobs, which are pending; a token is a random UUID,
-- so no failover or restore can hand out the same one twice.
create or replace function take(p_jobs uuid[], p_worker uuid, p_claim_number integer) returns uuid[]
language plpgsql
as $$
declare
  v_taken uuid[];
begin
  with taken as (
    update job
    set status = 'running',
        attempt = attempt + 1,
        token = gen_random_uuid(),
        worker = p_worker,
        claim_number = p_claim_number,
        progressed = false,
        started_at = clock()
    where id = any (p_jobs)
    returning id
  )
  select coalesce(array_agg(id), '{}') into v_taken from taken;
  return v_taken;
end
$$;
