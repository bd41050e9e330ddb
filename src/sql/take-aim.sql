-- Keeps of these aimed jobs, which wait, those that do not wait for their target for ever, so that a sweep looks after them: where
-- ifOffline is fail or any, or waitMs says for how long, counted from when the job is due.
create or replace function take_aim(p_namespace text, p_jobs uuid[]) returns void
language plpgsql
as $$
begin
  insert into aim (job_id, namespace, target, if_offline, due_at, deadline)
  select d.job_id, d.namespace, d.target, coalesce(d.options ->> 'ifOffline', 'wait')::offline_policy,
         j.run_at, j.run_at + milliseconds((d.options ->> 'waitMs')::double precision)
  from job_detail d
  join job j on j.id = d.job_id
  where d.job_id = any (p_jobs) and d.target is not null
    and (coalesce(d.options ->> 'ifOffline', 'wait') <> 'wait' or d.options ? 'waitMs')
  order by d.job_id
  on conflict do nothing;
  if found then
    perform hint(p_namespace, 'watch');
  end if;
end
$$;
