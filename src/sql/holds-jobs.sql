-- Whether this worker, whose row the caller has locked, holds any job.
create or replace function holds_jobs(p_worker worker) returns boolean
language plpgsql stable
as $$
begin
  return p_worker.holds and exists (
    select from claimed where worker = p_worker.incarnation and claim_number >= p_worker.low_claim and remaining > 0
  );
end
$$;
