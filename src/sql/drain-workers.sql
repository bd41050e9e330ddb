-- Tells workers to take no new jobs (p_drain) or to take them again. Answers: draining | online | the reason why not
-- (offline, not_found).
create or replace function drain_workers(p_namespace text, p_workers uuid[], p_drain boolean) returns text[]
language plpgsql security definer set search_path from current
as $$
declare
  v_answers text[];
begin
  perform guard();
  perform 1 from worker where incarnation = any (p_workers) and namespace = p_namespace order by incarnation for no key update;
  update worker set drain_requested_at = case when p_drain then coalesce(drain_requested_at, clock()) end
  where incarnation = any (p_workers) and namespace = p_namespace and ended_at is null;
  v_answers := array(
    select case when w.incarnation is null then 'not_found' when w.ended_at is not null then 'offline'
                when p_drain or w.draining_at is not null then 'draining' else 'online' end
    from unnest(p_workers) with ordinality as p (id, n)
    left join worker w on w.incarnation = p.id and w.namespace = p_namespace
    order by p.n
  );
  perform hint(p_namespace, 'renew:' || w) from unnest(p_workers) as w;
  return v_answers;
end
$$;
