-- For those who look at workers: where a connection is gone and nobody sweeps, as nothing runs, the live workers are told to look. What
-- is shown as late now is then ended within the grace of layer 3.
create or replace function ask_about_missing(p_namespace text) returns void
language plpgsql stable
as $$
begin
  if exists (
    select from worker w
    where w.namespace = p_namespace and w.ended_at is null and w.connection_missing_since is null and not connected(w.backend_pid)
  ) then
    perform hint(p_namespace, 'watch');
  end if;
end
$$;
