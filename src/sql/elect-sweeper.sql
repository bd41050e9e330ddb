-- Frees the parts that these workers have in sweeping: they have ended, or stop because nothing is running.
create or replace function resign_sweepers(p_workers uuid[]) returns void
language plpgsql
as $$
begin
  update sweeper
  set leader_at = case when leader = any (p_workers) then '-infinity' else leader_at end,
      deputy_at = case when deputy = any (p_workers) then '-infinity' else deputy_at end
  where leader = any (p_workers) or deputy = any (p_workers);
end
$$;

-- Which part a worker has in sweeping its namespace: leader, deputy or none. A leader or deputy that has been silent for
-- two sweeps has lost its place; the deputy comes before others. Locks the namespace's row until the commit.
create or replace function elect_sweeper(p_namespace text, p_worker uuid) returns text
language plpgsql
as $$
declare
  v_now timestamptz := clock();
  v_row sweeper;
  v_silence interval := milliseconds(2 * sweep_every_ms());
begin
  insert into sweeper (namespace) values (p_namespace) on conflict do nothing;
  select * into v_row from sweeper where namespace = p_namespace for no key update;
  if v_row.leader = p_worker
    or (v_row.leader_at < v_now - v_silence
        and (v_row.deputy = p_worker or v_row.deputy_at < v_now - v_silence))
    or v_row.leader_at > v_now + v_silence then
    update sweeper
    set leader = p_worker, leader_at = v_now,
        deputy = case when deputy = p_worker then null else deputy end,
        deputy_at = case when deputy = p_worker then '-infinity' else deputy_at end
    where namespace = p_namespace;
    return 'leader';
  end if;
  if v_row.deputy = p_worker or v_row.deputy_at < v_now - v_silence or v_row.deputy_at > v_now + v_silence then
    update sweeper set deputy = p_worker, deputy_at = v_now where namespace = p_namespace;
    return 'deputy';
  end if;
  return 'none';
end
$$;

-- Tells the others that somebody has to be deputy, as a claim tells nobody: somebody waits for it. p_before is the namespace's row before
-- this pass of the leader. Told when it begins to lead, and once a second while it is alone: one that came meanwhile, and found nothing
-- running when it looked, has heard of nothing. Only while something is running: whoever hears it asks for a part, also the leader.
create or replace function ask_for_deputy(p_namespace text, p_worker uuid, p_before sweeper) returns void
language plpgsql
as $$
declare
  v_now timestamptz := clock();
  v_silence interval := milliseconds(2 * sweep_every_ms());
begin
  if p_before.leader is distinct from p_worker or p_before.leader_at < v_now - v_silence
    or (p_before.deputy_at < v_now - v_silence
        and date_trunc('second', p_before.leader_at) <> date_trunc('second', v_now)
        and exists (select from worker where namespace = p_namespace and ended_at is null and incarnation <> p_worker)) then
    perform hint(p_namespace, 'watch');
  end if;
end
$$;
