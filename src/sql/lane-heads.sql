-- The first places of lanes from the caller's marks on, looked for where none was seen before.
create or replace function lane_heads(p_lanes bigint[], p_heads bigint[], p_marked bigint[], p_marks bigint[]) returns bigint[]
language plpgsql stable
as $$
begin
  return array(
    select coalesce(h.head, (
      select j.place from job j
      where j.lane = h.lane and j.place > coalesce(m.mark, 0) and j.standing = 'pending' and j.token is null
      order by j.place limit 1
    ))
    from unnest(p_lanes, p_heads) with ordinality as h (lane, head, n)
    left join unnest(p_marked, p_marks) as m (lane, mark) on m.lane = h.lane
    order by h.n
  );
end
$$;
