-- The sweep's part in runs: judges those that go on, cancels what those that ended should not keep, and clears those that hold nothing
-- any more. Waits for nobody. Says whether there is more to do at once.
create or replace function sweep_runs(p_namespace text) returns boolean
language plpgsql
as $$
declare
  v_more boolean := false;
  r record;
begin
  for r in
    select id from run
    where namespace = p_namespace and emptied_at is null and status = 'active' and exists (select from run_tally t where t.run_id = run.id)
    order by id
    for no key update skip locked
  loop
    perform fold_run(r.id);
  end loop;
  perform judge_runs(p_namespace, array(
    select t.id from run_truth t
    where t.namespace = p_namespace and t.emptied_at is null and run_verdict(row(t.*)::run_truth) is not null
  ), false);
  for r in
    select id, keeps_rest, left_over from run_truth
    where namespace = p_namespace and emptied_at is null and status <> 'active' and (not keeps_rest or left_over = 0)
    order by id
    limit 100
  loop
    if r.left_over > 0 then
      perform from run where id = r.id for no key update skip locked;
      if found then
        v_more := cancel_rest(r.id, rest_batch()) >= rest_batch() or v_more;
      end if;
    else
      perform empty_run(r.id);
    end if;
  end loop;
  return v_more;
end
$$;

-- Takes the lanes of an ended run that holds no job away, so that claims pass them no more. Under FOR UPDATE, which whoever puts a job
-- into it or revives one of it excludes; a job that has not ended would be seen to be left. Skipped while somebody does.
create or replace function empty_run(p_run uuid) returns void
language plpgsql
as $$
begin
  perform from run where id = p_run and status <> 'active' for update skip locked;
  if found and (select left_over from run_truth where id = p_run) = 0 then
    perform fold_run(p_run);
    delete from lane where run_id = p_run;
    update run set emptied_at = clock() where id = p_run;
  end if;
end
$$;
