-- Which life of which database this is: the cluster, its timeline (a promoted standby has another) and the id that is
-- renewed when a restored copy is confirmed. A worker that registered in another epoch holds nothing here.
-- Managed servers that hide the first two are told apart by the third alone.
create or replace function database_epoch() returns text
language plpgsql stable
as $$
declare
  v_id text := (select id from database_identity);
begin
  return (select system_identifier from pg_control_system())
    || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
    || '/' || v_id;
exception when insufficient_privilege or feature_not_supported or undefined_function then
  return '-/-/' || v_id;
end
$$;
