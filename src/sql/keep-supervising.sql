-- A supervisor's sign of life: extends its lease and stores what it counts, absolutely, so that asking twice counts once. Answers
-- `held`, or `lost` when another has taken the place; then nothing was changed. A lapsed lease that nobody took is extended.
create or replace function keep_supervising(
  p_namespace text,
  p_machine text,
  p_name text,
  p_incarnation uuid,
  p_restarts bigint,
  p_last_exit jsonb
) returns text
language plpgsql security definer set search_path from current
as $$
begin
  perform guard();
  update supervisor
  set seen_at = clock(),
      until = clock() + milliseconds(lease_ms),
      restarts = p_restarts,
      last_exit = coalesce(
        (p_last_exit - 'agoMs')
          || jsonb_build_object('at', iso(clock() - milliseconds((p_last_exit ->> 'agoMs')::double precision))),
        last_exit)
  where namespace = p_namespace and machine_id = p_machine and name = p_name and incarnation = p_incarnation and stopped_at is null;
  return case when found then 'held' else 'lost' end;
end
$$;
