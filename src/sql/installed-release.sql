-- What is installed: the newest migration, a fingerprint of functions and views, and the program that installed them. For roles that may
-- not read tables.
create or replace function installed_release() returns json
language sql stable security definer set search_path from current
as $$
  select json_build_object('migration', (select max(id) from migration), 'functions', functions, 'program', program) from installed
$$;
