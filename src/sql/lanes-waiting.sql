-- For each queue and type of a namespace the first job of each of its lanes that is due and waits: in its place, for one, or to be taken
-- alone.
create or replace function lanes_waiting(p_namespace text) returns table (queue text, type text, job_id uuid)
language plpgsql stable
as $$
#variable_conflict use_column
begin
  return query
    select l.queue, l.type, j.id
    from (select distinct id, queue, type from lane where namespace = p_namespace) as l
    cross join lateral (
      (
        select id from job
        where lane = l.id and standing = 'pending' and token is null and place > coalesce((select m.place from lane_mark m where m.lane = l.id), 0)
        order by place limit 1
      )
      union all
      (
        select id from job
        where lane = l.id and (lost >= max_lost - 1) = false and standing = 'pending' and token is null and place is null and not parked and run_at <= clock()
        order by run_at, id limit 1
      )
      union all
      (
        select id from job
        where lane = l.id and (lost >= max_lost - 1) = true and standing = 'pending' and token is null and place is null and not parked and run_at <= clock()
        order by run_at, id limit 1
      )
    ) as j;
end
$$;
