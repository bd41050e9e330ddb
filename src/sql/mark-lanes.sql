-- Notes for each lane of a namespace a place below which nothing waits, so that whoever asks for its first waiting job (alerts, the age of
-- a backlog) does not step over all that was taken while some transaction holds the horizon back: with ten million dead rows that took
-- a fifth of the machine. Called by whoever judges alerts, who has locked the sweeper's row.
--
-- Only for what is shown: claims have marks of their own. A job that is committed late, or that a claim passed over because somebody else
-- held it or decided about its concurrency key, may stand below its lane's mark, and is not seen here until every lane is looked at from
-- its beginning again: once a minute, or as seldom as makes it a hundredth of the time.
create or replace function mark_lanes(p_namespace text) returns void
language plpgsql set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off
as $$
declare
  -- Read before the places are looked at: what gets a later one is not passed over.
  v_end bigint := coalesce(pg_sequence_last_value('job_place'), 0);
  v_began timestamptz := clock_after_wait();
  v_sweeper sweeper;
  v_whole boolean;
begin
  select * into v_sweeper from sweeper where namespace = p_namespace;
  v_whole := v_sweeper.lanes_whole_at not between v_began - milliseconds(greatest(60000, 100 * v_sweeper.lanes_whole_ms)) and v_began;
  -- What the last claim of each worker took stood first in its lane: all before it is taken, and the most of a busy lane need not be
  -- looked at even once.
  with front as materialized (
    select j.lane, max(j.place) as place
    from worker w
    cross join lateral (
      select jobs[cardinality(jobs)] as id from claimed where worker = w.incarnation order by claim_number desc limit 1
    ) as c
    -- Offset 0: each is looked up, as a table that was seen empty would be read from end to end.
    cross join lateral (select lane, place from job where id = c.id offset 0) as j
    where w.namespace = p_namespace and w.ended_at is null and w.holds and not v_whole
    group by j.lane
  )
  insert into lane_mark as m (lane, place)
  select l.id, coalesce(h.head - 1, v_end)
  from (select distinct id from lane where namespace = p_namespace) as l
  left join front f on f.lane = l.id
  left join lane_mark k on k.lane = l.id and not v_whole
  cross join lateral (
    select (
      select j.place from job j
      where j.lane = l.id and j.standing = 'pending' and j.token is null and j.place > greatest(f.place, k.place, 0)
      order by j.place limit 1
    ) as head
  ) as h
  on conflict (lane) do update set place = excluded.place
  -- Not each time: a row that changes often leaves many versions under the very horizon that this is for.
  where excluded.place < m.place or excluded.place >= m.place + 10000;
  if v_whole then
    delete from lane_mark m where not exists (select from lane l where l.id = m.lane);
    update sweeper
    set lanes_whole_at = v_began, lanes_whole_ms = milliseconds_between(v_began, clock_after_wait())
    where namespace = p_namespace;
  end if;
end
$$;
