-- The ids that end like this, at most three (UUIDv7 ids made together begin alike, so people give the end).
create or replace function find_jobs(p_namespace text, p_ending text) returns uuid[]
language sql stable security definer set search_path from current
as $$
  select array(
    select job_id from job_detail
    where namespace = p_namespace and right(job_id::text, length(p_ending)) = lower(p_ending)
    order by job_id desc
    limit 3
  )
$$;
