-- The job whose last chance this worker should take, or wait for, alone: for an idle worker any due one, for a busy one the
-- one that it reserved before, else one that no other live worker has reserved. Locks it.
create or replace function last_chance(p_namespace text, p_worker uuid, p_reserved uuid, p_busy boolean, p_lanes bigint[]) returns uuid
language plpgsql
as $$
declare
  v_job uuid;
begin
  select j.id into v_job
  from job j
  where j.lane = any (p_lanes) and (j.lost >= j.max_lost - 1) = true and j.standing = 'pending' and j.token is null and j.place is null and not j.parked
    and j.run_at <= clock()
    and (
      not p_busy
      or j.id = p_reserved
      or not exists (
        select from worker w
        where w.namespace = p_namespace and w.ended_at is null and w.alone_for = j.id
          and w.incarnation <> p_worker and w.until > clock()
      )
    )
  order by (j.id = p_reserved) desc nulls last, j.priority desc, j.run_at, j.id
  limit 1
  for no key update skip locked;
  return v_job;
end
$$;
