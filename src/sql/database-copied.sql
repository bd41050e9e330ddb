-- Whether this database is a copy of the one that it was made or last confirmed as: a dump that was restored, or a template that was
-- copied. Then the jobs in it are somebody else's, and no worker may register until confirm_copy.
--
-- Judged by facts of the server, which a copy of rows carries along and does not fit: the cluster's identifier and the database's
-- oid. A physical standby that is promoted and a backup restored in place have both, and go on. Not told apart: a physical clone (a
-- disk snapshot, pg_basebackup) that is started beside its origin, as it is what a failover looks like; and on a server that hides its
-- identifier (null here) a restored dump whose database happens to have the same oid.
create or replace function database_copied() returns boolean
language plpgsql stable security definer set search_path from current
as $$
declare
  v_system text := database_system();
begin
  return exists (
    select from database_identity i
    where i.system_identifier <> v_system
       or i.database_oid <> (select d.oid from pg_database d where d.datname = current_database())
  );
end
$$;

-- The identifier that initdb gave to this cluster and that its physical copies share, or null where the role may not know.
create or replace function database_system() returns text
language plpgsql stable
as $$
begin
  return (select system_identifier::text from pg_control_system());
exception when insufficient_privilege or feature_not_supported or undefined_function then
  return null;
end
$$;
