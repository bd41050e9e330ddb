-- Keeps what attempts have cost so far, and adds the change to their runs. Sums, not steps: the same report again, after a lost reply,
-- changes nothing, and an older one neither. Answers: stored | cancelling | lease_lost.
create or replace function cost(p_jobs uuid[], p_tokens uuid[], p_cost_tokens bigint[], p_usd numeric[]) returns text[]
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
  v_answers text[] := '{}';
  f record;
  v_before attempt_cost;
  v_run uuid;
begin
  perform guard();
  for f in select * from fenced(p_jobs, p_tokens, 'cost') order by n loop
    v_answers := v_answers || f.answer;
    continue when f.attempt is null;
    insert into attempt_cost (job_id, attempt, tokens, usd) values (f.job_id, f.attempt, 0, 0) on conflict do nothing;
    -- Locked: the same report may be under way a second time.
    select * into v_before from attempt_cost where job_id = f.job_id and attempt = f.attempt for no key update;
    continue when p_cost_tokens[f.n] <= v_before.tokens and p_usd[f.n] <= v_before.usd;
    update attempt_cost
    set tokens = greatest(tokens, p_cost_tokens[f.n]), usd = greatest(usd, p_usd[f.n])
    where job_id = f.job_id and attempt = f.attempt;
    v_run := (select run_id from job where id = f.job_id);
    if v_run is not null then
      insert into run_tally (run_id, tokens, usd)
      values (v_run, greatest(0, p_cost_tokens[f.n] - v_before.tokens), greatest(0, p_usd[f.n] - v_before.usd));
    end if;
  end loop;
  return v_answers;
end
$$;
