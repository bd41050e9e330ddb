-- What an earlier call of the same claim has given, as take said it.
create or replace function claimed_jobs(p_worker uuid, p_claim_number integer) returns json[]
language plpgsql stable
as $$
begin
  return array(
    select row_to_json(claimed)
    from (
      select j.id, j.token, j.attempt, d.queue, d.type, d.input, d.options, j.failures, j.lost, j.interruptions,
             j.max_attempts as "maxAttempts", j.max_lost as "maxLost",
             case when j.attempt > 1 then resume_of(j.id, j.attempt) end as resume, j.place
      from job j
      join job_detail d on d.job_id = j.id
      where j.worker = p_worker and j.claim_number = p_claim_number and j.status = 'running'
      order by j.priority desc, j.lane & 1 desc, j.place, j.id
    ) as claimed
  );
end
$$;
