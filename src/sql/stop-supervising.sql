-- A supervisor leaves its place: its processes are gone. What it counted stays. Nothing happens when another has the place.
create or replace function stop_supervising(p_namespace text, p_machine text, p_name text, p_incarnation uuid) returns void
language plpgsql security definer set search_path from current
as $$
begin
  perform guard();
  update supervisor set seen_at = clock(), stopped_at = clock()
  where namespace = p_namespace and machine_id = p_machine and name = p_name and incarnation = p_incarnation and stopped_at is null;
end
$$;
