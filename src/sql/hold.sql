-- Sets waiting jobs aside until a person resumes them. Answers: held | the status of a job that does not wait | not_found.
create or replace function hold(p_namespace text, p_jobs uuid[], p_reason jsonb default '{}') returns text[]
language plpgsql security definer set search_path from current
as $$
begin
  perform guard();
  perform 1 from job where id = any (p_jobs) and namespace = p_namespace order by id for no key update;
  with held as (
    update job set standing = 'held', place = null, parked = false
    where id = any (p_jobs) and namespace = p_namespace and standing = 'pending' and token is null
    returning id
  ),
  explained as (
    update job_detail d set end_reason = jsonb_build_object('code', 'held', 'message', 'held by a person') || p_reason
    from held h where d.job_id = h.id
  )
  insert into event (at, namespace, kind, job_ids, data) select clock(), p_namespace, 'job.held', array[id], p_reason from held;
  return array(select status_of(p_namespace, p.id) from unnest(p_jobs) with ordinality as p (id, n) order by p.n);
end
$$;
