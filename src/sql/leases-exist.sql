-- Whether anything may be running in a namespace: a worker holds something, or has ended and not all has come back, or a job is parked
-- behind one that runs; or a connection was seen missing, and whether it comes back is still open. Without that
-- there is nothing to lose and nobody has to sweep. A restored copy may lack a worker's row: workers_gone looks for that.
create or replace function leases_exist(p_namespace text) returns boolean
language plpgsql stable
as $$
begin
  return exists (select from worker where namespace = p_namespace and ended_at is null and (holds or connection_missing_since is not null))
    or exists (select from worker where namespace = p_namespace and ended_at is not null and emptied_at is null)
    or exists (select from job where namespace = p_namespace and parked);
end
$$;
