-- What a worker asks whenever it connects: the database's clock, in ms since 1970, and which life of which database answers it.
create or replace function database_facts() returns json
language sql stable security definer set search_path from current
as $$
  select json_build_object('databaseMs', (extract(epoch from clock_timestamp()) * 1000)::bigint, 'epoch', database_epoch())
$$;
