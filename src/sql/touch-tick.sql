-- Writes down that the database takes writes now, unless somebody did less than p_older_than_ms ago.
--
-- Whoever first writes after a gap (nobody wrote for gap_ms, the clock went backwards, or the caller saw it step) sets
-- writable_since in this same statement: no lease is judged lapsed until a whole lease has been writable again.
-- writable_total_ms only grows while there is no gap, so that a database that blinks for ever can't put it off for ever.
create or replace function touch_tick(p_older_than_ms integer, p_clock_stepped boolean default false) returns void
language plpgsql
as $$
begin
  update tick
  set at = clock(),
      writable_since = case
        when p_clock_stepped or clock() - at > milliseconds(gap_ms()) or at - clock() > interval '1 second' then clock()
        else writable_since
      end,
      writable_total_ms = writable_total_ms + case
        when p_clock_stepped or clock() - at > milliseconds(gap_ms()) then 0
        else greatest(0, milliseconds_between(at, clock()))
      end
  where p_clock_stepped
     or clock() - at >= milliseconds(p_older_than_ms)
     or at - clock() > interval '1 second';
end
$$;
