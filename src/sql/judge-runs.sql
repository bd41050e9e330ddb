-- Ends runs whose rules say so, and says what each is: active | completed | error | archived | not_found. Whoever has ended jobs of a run
-- or reported a cost asks, after the commit: the last of several who did so at once sees what all of them wrote. A sweep asks
-- for everybody else (p_wait false: it waits for nobody).
--
-- Looks without a lock first, as nearly always nothing has ended; what a lock then finds, it finds in a new statement. An end
-- because all jobs have ended must not race with a job that is just being put in: it takes the row FOR UPDATE, or leaves it.
create or replace function judge_runs(p_namespace text, p_runs uuid[], p_wait boolean default true) returns text[]
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
  v_run uuid;
  v_verdict jsonb;
begin
  perform guard();
  for v_run in
    select t.id from run_truth t where t.id = any (p_runs) and t.namespace = p_namespace and run_verdict(row(t.*)::run_truth) is not null order by t.id
  loop
    if p_wait then
      perform from run where id = v_run for no key update;
    else
      perform from run where id = v_run for no key update skip locked;
      continue when not found;
    end if;
    select run_verdict(row(t.*)::run_truth) into v_verdict from run_truth t where t.id = v_run;
    continue when v_verdict is null;
    if v_verdict ->> 'code' <> all ('{target_reached,budget_spent}') then
      perform from run where id = v_run for update skip locked;
      if found then
        -- In a new statement: what was being put in a moment ago is there, or will be refused.
        select run_verdict(row(t.*)::run_truth) into v_verdict from run_truth t where t.id = v_run;
      elsif (select left_over from run_truth where id = v_run) = 0 then
        continue;
      end if;
      continue when v_verdict is null;
    end if;
    perform finish_run(v_run, (v_verdict ->> 'status')::run_status, keeps_rest, v_verdict - 'status') from run where id = v_run;
  end loop;
  return array(
    select coalesce(r.status::text, 'not_found')
    from unnest(p_runs) with ordinality as p (id, n)
    left join run r on r.id = p.id and r.namespace = p_namespace
    order by p.n
  );
end
$$;
