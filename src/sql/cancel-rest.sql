-- Cancels a batch of what an ended run still holds, from where the last batch came to, and says how many that were. The caller has
-- locked the run. What somebody holds at this moment is passed over: a later pass, from the beginning, finds it.
create or replace function cancel_rest(p_run uuid, p_limit integer) returns integer
language plpgsql
as $$
declare
  v_jobs uuid[];
  v_from uuid := coalesce((select rest_from from run where id = p_run), '00000000-0000-0000-0000-000000000000');
begin
  v_jobs := array(
    select j.id
    from job_detail d
    -- Offset 0: each is looked up, as a plan that was made for empty tables would read all jobs for each.
    cross join lateral (
      select id from job where id = d.job_id and cancel_requested_at is null offset 0 for no key update skip locked
    ) as j
    where d.run_id = p_run and d.job_id > v_from
    order by d.job_id
    limit p_limit
  );
  if cardinality(v_jobs) > 0 then
    perform cancel(namespace, v_jobs, jsonb_build_object('code', 'run_ended', 'message', format('its run %s ended as %s', name, status)))
    from run where id = p_run;
  end if;
  update run set rest_from = case when cardinality(v_jobs) = p_limit then v_jobs[p_limit] end
  where id = p_run and (rest_from is not null or cardinality(v_jobs) = p_limit);
  return cardinality(v_jobs);
end
$$;

create or replace function rest_batch() returns integer language sql immutable parallel safe as 'select 1000';
