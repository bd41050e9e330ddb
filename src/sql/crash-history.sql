-- How the workers of one machine fared, by version, newest version first: read from ended workers when it is asked for.
--
-- A crash is an end that nobody ordered: the worker was lost, or its process ended itself over an error. One that was heard again did
-- not crash. Restarts are the starts after the first crash. The mean time between crashes is the time that all its workers were
-- up, within the window, for each crash; null without one. Bounded by the window and by the namespace's last 10,000 ends.
create or replace function crash_history(p_namespace text, p_machine text, p_within_ms bigint) returns jsonb
language plpgsql stable
as $$
declare
  v_from timestamptz := clock() - milliseconds(p_within_ms);
begin
  return (
    with ended as (
      select d.incarnation
      from worker_detail d
      where d.namespace = p_namespace and d.ended_at > v_from
      order by d.ended_at desc
      limit 10000
    ),
    known as (
      select d.version, d.registered_at, d.ended_at, d.incarnation, d.end_reason, crashed(w, d) as crashed,
             greatest(0, milliseconds_between(greatest(d.registered_at, v_from), coalesce(d.ended_at, clock()))) as up_ms
      from (
        select incarnation from ended
        union
        select incarnation from worker where namespace = p_namespace and ended_at is null
      ) as x
      join worker w using (incarnation)
      join worker_detail d using (incarnation)
      where w.machine_id = p_machine
    ),
    by_version as (
      select k.version, count(*) as starts, count(*) filter (where k.crashed) as crashes, sum(k.up_ms) as up_ms,
             min(k.ended_at) filter (where k.crashed) as first_crash_at, max(k.ended_at) filter (where k.crashed) as last_crash_at,
             max(k.registered_at) as last_start_at
      from known k
      group by k.version
    )
    select coalesce(jsonb_agg(jsonb_build_object(
      'version', v.version,
      'starts', v.starts,
      'restarts', (
        select count(*) from known k where k.version = v.version and k.registered_at >= v.first_crash_at
      ),
      'crashes', v.crashes,
      'lostJobs', (
        select count(*) from known k join attempt a on a.worker = k.incarnation and a.ended_as = 'lost' where k.version = v.version
      ),
      'meanTimeBetweenCrashesMs', (v.up_ms / nullif(v.crashes, 0))::bigint,
      'lastCrashAt', iso(v.last_crash_at),
      'lastCrashReason', (
        select k.end_reason ->> 'message' from known k
        where k.version = v.version and k.crashed order by k.ended_at desc limit 1
      )
    ) order by v.last_start_at desc), '[]')
    from by_version v
  );
end
$$;

-- Whether a worker's end was one that nobody ordered. One that was killed while it shut down was told to stop; one that an operator
-- had drained, and that was lost all the same, was not.
create or replace function crashed(w worker, d worker_detail) returns boolean
language sql stable
as $$
  select w.ended_at is not null
    and not coalesce(d.end_reason ? 'heardAgainAt', false)
    and (
      w.end_charge = 'lost'
      or (w.end_charge = 'released' and d.end_reason ->> 'code' = 'uncaught_error')
      or (w.end_layer >= 1 and w.draining_at is null)
    )
$$;
