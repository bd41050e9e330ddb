-- Stores jobs on behalf of a running attempt, fenced by its token: null, and nothing stored, when the attempt has lost its lease. They
-- name its job as their parent. What a job of an active run puts in belongs to the same run, unless its options name another: the run is
-- not over before it.
create or replace function enqueue_child(
  p_job uuid,
  p_token uuid,
  p_types text[],
  p_inputs text[],
  p_options text[] default null
) returns uuid[]
language plpgsql security definer set search_path from current
as $$
declare
  v_run uuid;
begin
  perform guard();
  if not exists (select from fenced(array[p_job], array[p_token], 'enqueue') where attempt is not null) then
    return null;
  end if;
  v_run := (select j.run_id from job j join run r on r.id = j.run_id where j.id = p_job and r.status = 'active');
  return enqueue((select namespace from job_detail where job_id = p_job), p_types, p_inputs, array(
    select (jsonb_strip_nulls(jsonb_build_object('runId', v_run)) || o::jsonb || jsonb_build_object('parentId', p_job))::text
    from unnest(coalesce(nullif(p_options, '{}'), '{"{}"}')) with ordinality as u (o, n)
    order by n
  ));
end
$$;
