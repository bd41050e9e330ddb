-- Tells a machine's workers, and all that start there later, to take no new jobs (p_drain), or to take them again. It is the machine
-- that is drained: a supervisor that replaces a worker would undo it otherwise. Answers: draining | online | offline (the mark is
-- kept for whoever starts there) | not_found.
create or replace function drain_machine(p_namespace text, p_machine text, p_drain boolean) returns text
language plpgsql security definer set search_path from current
as $$
declare
  v_workers uuid[];
begin
  perform guard();
  -- Workers first, as renewals lock them before their machine.
  perform 1 from worker
  where namespace = p_namespace and machine_id = p_machine and ended_at is null
  order by incarnation for no key update;
  update machine set drain_requested_at = case when p_drain then coalesce(drain_requested_at, clock()) end
  where namespace = p_namespace and id = p_machine;
  if not found then
    return 'not_found';
  end if;
  -- In a new statement, and so with those that were registering meanwhile.
  v_workers := array(
    select incarnation from worker where namespace = p_namespace and machine_id = p_machine and ended_at is null order by incarnation
  );
  perform drain_workers(p_namespace, v_workers, p_drain);
  return case when cardinality(v_workers) = 0 then 'offline' when p_drain then 'draining' else 'online' end;
end
$$;
