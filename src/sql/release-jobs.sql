-- An operator takes running jobs from their workers, dead or alive: the token is void, the job is due at once, nothing is
-- charged. A living worker is told at once and stops. Answers: released (once cancel was
-- asked that ends it as cancelled) | the status of a job that does not run | not_found.
create or replace function release_jobs(p_namespace text, p_jobs uuid[], p_reason jsonb default '{}') returns text[]
language plpgsql security definer set search_path from current
as $$
declare
  v_ids uuid[];
  v_tokens uuid[];
  v_workers uuid[];
  v_before text[];
begin
  perform guard();
  perform 1 from job where id = any (p_jobs) and namespace = p_namespace order by id for no key update;
  select array_agg(id), array_agg(token), array_agg(distinct worker)
  into v_ids, v_tokens, v_workers
  from job
  where id = any (p_jobs) and namespace = p_namespace and token is not null;
  v_before := array(select status_of(p_namespace, p.id) from unnest(p_jobs) with ordinality as p (id, n) order by p.n);
  if v_ids is null then
    return v_before;
  end if;
  perform release(v_ids, v_tokens, array_fill((jsonb_build_object('code', 'released', 'message', 'released by an operator') || p_reason)::text, array[cardinality(v_ids)]));
  perform hint(p_namespace, 'renew:' || w) from unnest(v_workers) as w;
  return array(select case when before = 'running' then 'released' else before end from unnest(v_before) as before);
end
$$;
