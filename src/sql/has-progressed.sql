-- Whether this attempt has written a checkpoint or progress: then a loss starts the count of losses anew.
create or replace function has_progressed(p_job uuid, p_attempt integer) returns boolean
language sql stable
as $$
  select exists (select from checkpoint where job_id = p_job and attempt = p_attempt)
      or exists (select from progress where job_id = p_job and attempt = p_attempt)
$$;
