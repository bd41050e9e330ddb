-- Cancels a batch of what an ended run still holds, and says how many that were. What somebody holds at this moment is passed over:
-- the next sweep finds it.
create or replace function cancel_rest(p_run uuid, p_limit integer) returns integer
language plpgsql
as $$
declare
  v_jobs uuid[];
begin
  v_jobs := array(
    select j.id
    from job_detail d
    join job j on j.id = d.job_id
    where d.run_id = p_run and j.cancel_requested_at is null
    order by d.job_id
    limit p_limit
    for no key update of j skip locked
  );
  if cardinality(v_jobs) > 0 then
    perform cancel(namespace, v_jobs, jsonb_build_object('code', 'run_ended', 'message', format('its run %s ended as %s', name, status)))
    from run where id = p_run;
  end if;
  return cardinality(v_jobs);
end
$$;

create or replace function rest_batch() returns integer language sql immutable parallel safe as 'select 1000';
