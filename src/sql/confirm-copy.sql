-- An operator says that a copied database is one of its own and may run its jobs. It gets a new id, so that whatever was registered
-- with the origin holds nothing here; those workers' rows are ended, and what they held goes back, charged to nobody.
--
-- Webhooks are removed: a copy must not ring the origin's bells. Answers what was done, and what will run as soon as there is a
-- worker; copied false, and nothing done, where the database is no copy.
create or replace function confirm_copy() returns jsonb
language plpgsql security definer set search_path from current
as $$
declare
  v_namespace text;
  v_ended uuid[];
  v_workers integer := 0;
  v_released integer := 0;
  v_webhooks integer;
begin
  perform guard();
  -- Two who confirm at once: the second waits, and then finds no copy.
  perform 1 from database_identity for update;
  if not database_copied() then
    return jsonb_build_object('copied', false);
  end if;
  update database_identity
  set id = gen_random_uuid(),
      system_identifier = database_system(),
      database_oid = (select oid from pg_database where datname = current_database()),
      confirmed_at = clock();
  for v_namespace in select distinct namespace from worker where ended_at is null or emptied_at is null order by 1 loop
    v_ended := end_workers(v_namespace, array(select incarnation from worker where namespace = v_namespace and ended_at is null),
      'uncharged', null, '{"code": "database_copied", "message": "the database was copied, and this worker was left behind in the copy"}');
    v_workers := v_workers + cardinality(v_ended);
    v_released := v_released + (select count(*) from take_back(v_namespace, workers_gone(v_namespace, true), null));
  end loop;
  delete from webhook;
  get diagnostics v_webhooks = row_count;
  return jsonb_build_object(
    'copied', true,
    'workersEnded', v_workers,
    'jobsReleased', v_released,
    'webhooksRemoved', v_webhooks,
    'waiting', (
      select coalesce(jsonb_agg(jsonb_build_object('namespace', w.namespace, 'jobs', w.jobs) order by w.namespace), '[]')
      from (select j.namespace, count(*) as jobs from job j where j.standing in ('pending', 'blocked') and j.token is null group by j.namespace) as w
    )
  );
end
$$;
