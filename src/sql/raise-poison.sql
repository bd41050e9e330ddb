-- Raises the alert of these jobs' types, or adds the jobs to it; the next sweep announces it. Called where they have become poison, so
-- that finding them costs no search. An alert names at most 20 jobs and counts all.
--
-- Waits for nobody, as this is a part of recovery: where a type's alert is in somebody's hand (an acknowledgement in an open transaction,
-- a recovery that raises it at this moment), the jobs get an alert of their own, whose subject is the type and the first of them.
create or replace function raise_poison(p_namespace text, p_jobs uuid[]) returns void
language plpgsql
as $$
declare
  d record;
  v_subject text;
begin
  if not exists (select from alert_settings(p_namespace) s where s.rule = 'poison' and s.enabled) then
    return;
  end if;
  for d in
    select type, jsonb_build_object('type', type, 'count', count(*), 'jobIds', to_jsonb((array_agg(job_id order by job_id))[1:20])) as data,
           (array_agg(job_id order by job_id))[1] as first_id
    from job_detail
    where job_id = any (p_jobs)
    group by type
    order by type
  loop
    v_subject := d.type;
    -- Whoever inserts a row that another is inserting waits for it, so only one does at a time.
    if not pg_try_advisory_xact_lock(poison_lock(p_namespace, d.type)) then
      v_subject := d.type || ' ' || d.first_id;
    end if;
    update alert a
    set data = a.data || jsonb_build_object(
      'count', (a.data ->> 'count')::integer + (d.data ->> 'count')::integer,
      'jobIds', case when jsonb_array_length(a.data -> 'jobIds') >= 20 then a.data -> 'jobIds'
                     else (a.data -> 'jobIds') || (d.data -> 'jobIds') end)
    where a.id = (
      select id from alert
      where namespace = p_namespace and rule = 'poison' and subject = v_subject and resolved_at is null
      for no key update skip locked
    );
    continue when found;
    if exists (select from alert where namespace = p_namespace and rule = 'poison' and subject = v_subject and resolved_at is null) then
      v_subject := d.type || ' ' || d.first_id;
    end if;
    insert into alert (namespace, rule, subject, message, data, raised_at)
    select p_namespace, 'poison', v_subject, format('jobs of type %s fail as poison: every worker that ran them was lost', d.type), d.data,
           clock()
    -- One that is there already names the job.
    where not exists (select from alert where namespace = p_namespace and rule = 'poison' and subject = v_subject and resolved_at is null);
  end loop;
  perform hint(p_namespace, 'watch');
end
$$;

-- The advisory lock of whoever raises the alert of a type.
create or replace function poison_lock(p_namespace text, p_type text) returns bigint
language sql stable
as $$
  select hashtextextended(current_schema() || chr(31) || p_namespace || chr(31) || p_type, 4713)
$$;
