-- The place behind all that were given out. Whoever draws one has a transaction id by then, so that a claim which reads the last place
-- before it has an id of its own knows that all who drew a place up to it have a lower one: what claims know of places rests on that
-- (see the worker's lane marks). One expression, so that it is inlined; the order of its parts is that of `case`.
create or replace function next_place() returns bigint
language sql volatile
as $$
  select case when pg_current_xact_id() is not null then nextval('job_place') end
$$;
