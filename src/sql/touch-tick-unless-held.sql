-- touch_tick for those who must not wait: when somebody else has the tick in hand, it is being written anyway. Without this a sweep
-- that hangs would hold up every renewal. The sweep itself does wait: it judges by what the tick says.
create or replace function touch_tick_unless_held(p_older_than_ms integer) returns void
language plpgsql
as $$
begin
  perform 1
  from tick
  where clock() - at >= milliseconds(p_older_than_ms) or at - clock() > interval '1 second'
  for no key update skip locked;
  if found then
    perform touch_tick(p_older_than_ms);
  end if;
end
$$;
