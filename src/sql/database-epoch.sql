-- Which life of this database it is: the timeline (a promoted standby has another) and the id that is renewed when a restored copy is
-- confirmed. Managed servers that hide the first are told apart by the second alone.
create or replace function database_life() returns text
language plpgsql stable
as $$
begin
  return left(pg_walfile_name(pg_current_wal_lsn()), 8) || '/' || (select id from database_identity);
exception when insufficient_privilege or feature_not_supported or undefined_function then
  return '-/' || (select id from database_identity);
end
$$;

-- The same with the cluster's own identifier: a worker that registered in another epoch holds nothing here. Claims compare the life
-- alone, as reading the cluster's identifier opens a file; renewals compare all of it.
create or replace function database_epoch() returns text
language plpgsql stable
as $$
begin
  return (select system_identifier from pg_control_system()) || '/' || database_life();
exception when insufficient_privilege or feature_not_supported or undefined_function then
  return '-/' || database_life();
end
$$;
