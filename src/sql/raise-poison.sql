-- Raises the alert of these jobs' types, or adds the jobs to it; the next sweep announces it. Called where they have become poison, so
-- that finding them costs no search. An alert names at most 20 jobs and counts all.
create or replace function raise_poison(p_namespace text, p_jobs uuid[]) returns void
language plpgsql
as $$
begin
  if not exists (select from alert_settings(p_namespace) s where s.rule = 'poison' and s.enabled) then
    return;
  end if;
  insert into alert as a (namespace, rule, subject, message, data, raised_at)
  select p_namespace, 'poison', d.type, format('jobs of type %s fail as poison: every worker that ran them was lost', d.type),
         jsonb_build_object('type', d.type, 'count', count(*), 'jobIds', to_jsonb((array_agg(d.job_id order by d.job_id))[1:20])), clock()
  from job_detail d
  where d.job_id = any (p_jobs)
  group by d.type
  -- One order for all, so that two recoveries at once don't wait for each other.
  order by d.type
  on conflict (namespace, rule, subject) where resolved_at is null do update
  set data = a.data || jsonb_build_object(
    'count', (a.data ->> 'count')::integer + (excluded.data ->> 'count')::integer,
    'jobIds', case when jsonb_array_length(a.data -> 'jobIds') >= 20 then a.data -> 'jobIds'
                   else (a.data -> 'jobIds') || (excluded.data -> 'jobIds') end);
  perform hint(p_namespace, 'watch');
end
$$;
