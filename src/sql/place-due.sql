-- Gives jobs whose time has come their place at the end of their lanes, at most 500 of each call, in the order of their times. Returns
-- when the next one that is not due yet will be; now when more are due.
create or replace function place_due(p_lanes bigint[]) returns timestamptz
language plpgsql
as $$
declare
  v_count integer;
begin
  with due as materialized (
    select d.id, next_place() as place
    from (
      select j.id
      from unnest(p_lanes) as l (id)
      cross join lateral (
        select id, run_at from job
        where lane = l.id and (lost >= max_lost - 1) = false and standing = 'pending' and token is null and place is null and not parked and run_at <= clock()
        order by run_at, id
        limit 500
      ) as due
      join job j on j.id = due.id and j.place is null and not j.parked and j.standing = 'pending' and j.token is null
      order by due.run_at, due.id
      limit 500
      for no key update of j skip locked
    ) as d
  )
  update job set place = due.place from due where job.id = due.id;
  get diagnostics v_count = row_count;
  -- Whoever else looked at this moment saw neither that they were due nor their places.
  if v_count > 0 then
    perform hint(namespace, 'pending:*') from lane where id = p_lanes[1] limit 1;
  end if;
  if v_count = 500 then
    return clock();
  end if;
  return (select min(w.due_at) from waiting_since(p_lanes) as w where w.due_at > clock());
end
$$;
