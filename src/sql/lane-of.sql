-- The id of a lane: the queue that a claim walks, one for each namespace, queue, type, priority, run and target. An even number of 52 bits, so
-- that JSON carries it; the odd one after it is the lane's front, for jobs that were given back. No worker takes a job whose type it
-- does not know, so two lanes with one number would cost a return trip, not a wrong execution.
create or replace function lane_of(
  p_namespace text,
  p_queue text,
  p_type text,
  p_priority smallint,
  p_run uuid default null,
  p_target text default null
) returns bigint
language sql immutable parallel safe
as $$
  select ('x' || left(md5(p_namespace || chr(31) || p_queue || chr(31) || p_type || chr(31) || p_priority
    || case when p_run is null and p_target is null then '' else chr(31) || coalesce(p_run::text, '') || chr(31) || coalesce(p_target, '') end
  ), 13))::bit(52)::bigint & ~1::bigint
$$;

-- Makes a lane known to claims. See the table for why it may be there twice.
create or replace function know_lane(
  p_lane bigint,
  p_namespace text,
  p_queue text,
  p_type text,
  p_priority smallint,
  p_run uuid,
  p_target text
) returns void
language plpgsql
as $$
begin
  if not exists (select from lane where id = p_lane) then
    insert into lane (id, namespace, queue, type, priority, run_id, target)
    values (p_lane, p_namespace, p_queue, p_type, p_priority, p_run, p_target);
  end if;
end
$$;
