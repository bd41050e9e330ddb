-- Lets held jobs go on, at the front, with their budgets of lost workers and interruptions cleared. Answers: resumed | the status of a
-- job that is not held | not_found.
create or replace function resume(p_namespace text, p_jobs uuid[]) returns text[]
language plpgsql security definer set search_path from current
as $$
declare
  v_held uuid[];
begin
  perform guard();
  perform 1 from job where id = any (p_jobs) and namespace = p_namespace order by id for no key update;
  v_held := array(select id from job where id = any (p_jobs) and namespace = p_namespace and standing = 'held');
  update job set standing = 'pending', lost = 0, interruptions = 0 where id = any (v_held);
  perform put_back(v_held);
  update job_detail set end_reason = null where job_id = any (v_held);
  insert into event (at, namespace, kind, job_ids) select clock(), p_namespace, 'job.resumed', array[id] from unnest(v_held) as id;
  perform hint(p_namespace, 'pending:*');
  return array(
    select case when p.id = any (v_held) then 'resumed' else status_of(p_namespace, p.id) end
    from unnest(p_jobs) with ordinality as p (id, n)
    order by p.n
  );
end
$$;
