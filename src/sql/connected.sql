-- Whether this server process, that a worker's reserved connection had, is still there. Null in, true out: behind a pooler nobody knows.
create or replace function connected(p_backend integer) returns boolean
language sql stable
as $$
  select p_backend is null or exists (select from pg_stat_get_activity(p_backend))
$$;
