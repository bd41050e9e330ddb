-- What the stored status of a job is now: not_found where the namespace has no such job.
create or replace function status_of(p_namespace text, p_job uuid) returns text
language sql stable
as $$
  select coalesce((select status::text from job_stored where id = p_job and namespace = p_namespace), 'not_found')
$$;
