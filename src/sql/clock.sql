-- The only clock that decides anything. statement_timestamp(): now() stands still for a whole transaction, and
-- clock_timestamp() is volatile and loses index conditions. Tests replace this function in their own schema.
create or replace function clock() returns timestamptz
language sql stable parallel safe
as 'select statement_timestamp()';
