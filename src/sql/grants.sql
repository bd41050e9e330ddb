-- Three roles with grants on functions alone; no role but the owner touches a table. A server on which this role may not create
-- roles works without them: then only the owner can connect, and migrate says so.
do $$
declare
  r text;
  f regprocedure;
  v_client text[] := '{create_run,update_run,end_run,judge_runs,list_runs,find_runs,enqueue,cancel,retry,get_jobs,list_jobs,find_jobs,job_logs,list_workers,find_workers,list_machines,stats,read_events,events_end,known_types,channel,installed_release,list_supervisors,find_machines,list_alerts,find_alerts,alert_rules,database_copied,shutdowns,events_dropped,retention_of}';
  v_worker text[] := '{register,database_facts,judge_runs,cost,claim,renew,settle,complete,fail,release,interrupt,acknowledge_cancel,checkpoint,progress,log,enqueue_child,sweep,report_death,end_worker,enqueue,get_jobs,read_events,events_end,channel,installed_release,supervise,keep_supervising,stop_supervising,backlog_age,database_copied,take_deliveries,settle_delivery,events_dropped,begin_retention,jobs_to_drop,drop_jobs,drop_events,end_retention}';
begin
  execute format('revoke all on all functions in schema %I from public', current_schema());
  foreach r in array '{leasehold_client,leasehold_worker,leasehold_admin}'::text[] loop
    begin
      if not exists (select from pg_roles where rolname = r) then
        execute format('create role %I nologin', r);
      end if;
    exception when duplicate_object or unique_violation then null;
    when insufficient_privilege then
      raise notice 'role % is missing and may not be created by %', r, current_user;
      return;
    end;
    execute format('grant usage on schema %I to %I', current_schema(), r);
  end loop;
  for f in
    select p.oid::regprocedure from pg_proc p where p.pronamespace = quote_ident(current_schema())::regnamespace
  loop
    if (select proname from pg_proc where oid = f) = any (v_client) then
      execute format('grant execute on function %s to leasehold_client', f);
    end if;
    if (select proname from pg_proc where oid = f) = any (v_worker) then
      execute format('grant execute on function %s to leasehold_worker', f);
    end if;
    if (select prosecdef from pg_proc where oid = f) then
      execute format('grant execute on function %s to leasehold_admin', f);
    end if;
  end loop;
end
$$;
