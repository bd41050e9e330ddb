-- For each lane when the first job without a place is due: one that waits for its time, and one whose last chance it is.
create or replace function waiting_since(p_lanes bigint[]) returns table (lane bigint, due_at timestamptz, last_at timestamptz)
language plpgsql stable
as $$
#variable_conflict use_column
begin
  return query
    select l.id,
           (
             select j.run_at from job j
             where j.lane = l.id and (j.lost >= j.max_lost - 1) = false and j.standing = 'pending' and j.token is null and j.place is null and not j.parked
             order by j.run_at, j.id limit 1
           ),
           (
             select j.run_at from job j
             where j.lane = l.id and (j.lost >= j.max_lost - 1) = true and j.standing = 'pending' and j.token is null and j.place is null and not j.parked
             order by j.run_at, j.id limit 1
           )
    from unnest(p_lanes) as l (id);
end
$$;
