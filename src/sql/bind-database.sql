-- Writes down which database this is, once, at the end of the first migration. A copy is bound already and stays a copy.
create or replace function bind_database() returns void
language plpgsql
as $$
begin
  update database_identity
  set system_identifier = database_system(),
      database_oid = (select oid from pg_database where datname = current_database())
  where database_oid is null;
end
$$;
