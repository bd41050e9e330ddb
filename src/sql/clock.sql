-- The only clock that decides anything. statement_timestamp(): now() stands still for a whole transaction, and
-- clock_timestamp() is volatile and loses index conditions. Tests replace this function in their own schema.
create or replace function clock() returns timestamptz
language sql stable parallel safe
as 'select statement_timestamp()';

-- The same clock read now: what a statement that has waited for a lock compares with what others wrote in the meantime.
create or replace function clock_after_wait() returns timestamptz
language sql volatile
as 'select clock() + (clock_timestamp() - statement_timestamp())';
