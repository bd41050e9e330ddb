-- Whether nobody has written for so long that the next write will count it as an outage.
create or replace function gap_pending(p_tick tick) returns boolean
language sql stable
as 'select clock() - p_tick.at > milliseconds(gap_ms())';

-- When a worker that is silent may be judged lost: the one rule for the view, the sweep and release-stuck.
--
-- Its own deadline must have passed (one further away than its span is impossible, the clock stepped, and counts as now +
-- span), and since then either the database has been writable without a gap for one whole span, or for three in all
-- since the worker's last accepted renewal. While nobody writes, a gap is pending: the next write will find it, so that the span can
-- only begin then.
create or replace function judged_after(
  p_until timestamptz,
  p_span_ms integer,
  p_writable_mark_ms bigint,
  p_tick tick
) returns timestamptz
language sql stable
as $$
  select greatest(
    least(p_until, clock() + milliseconds(p_span_ms)),
    least(
      case when gap_pending(p_tick) then clock() else p_tick.writable_since end + milliseconds(p_span_ms),
      clock() + milliseconds(
        3.0 * p_span_ms
        - (p_tick.writable_total_ms
          + case when gap_pending(p_tick) then 0 else greatest(0, milliseconds_between(p_tick.at, clock())) end
          - p_writable_mark_ms)
      )
    )
  )
$$;
