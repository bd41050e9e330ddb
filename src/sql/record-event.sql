-- One row of the event feed. Hot kinds pass a whole batch of jobs.
create or replace function record_event(
  p_namespace text,
  p_kind text,
  p_jobs uuid[],
  p_worker uuid,
  p_data jsonb default null
) returns void
language plpgsql
as $$
begin
  insert into event (at, namespace, kind, job_ids, worker, data)
  values (clock(), p_namespace, p_kind, p_jobs, p_worker, p_data);
end
$$;
