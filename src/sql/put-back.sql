-- Puts waiting jobs that have been begun, or set aside, at the front of their lanes, without back-off; one whose last chance it is
-- waits to be taken alone, and one whose time has not come waits for that. The caller has locked their rows.
create or replace function put_back(p_jobs uuid[]) returns void
language plpgsql
as $$
declare
  v_lanes bigint[];
begin
  with moved as (
    update job
    set lane = case when run_at <= clock() and lost < max_lost - 1 then lane | 1 else lane & ~1::bigint end,
        place = case when run_at <= clock() and lost < max_lost - 1 then next_place() end,
        parked = false
    where id = any (p_jobs) and standing = 'pending' and token is null
    returning lane
  )
  select array_agg(distinct lane) filter (where lane & 1 = 1) into v_lanes from moved;
  if v_lanes is not null then
    perform know_fronts(v_lanes);
  end if;
end
$$;
