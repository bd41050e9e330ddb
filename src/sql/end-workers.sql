-- Ends worker rows for good and says why. The caller judged them; whoever is ended already is left alone. Their jobs are
-- taken back by take_back in a LATER statement, which then sees everything they claimed until now.
-- p_charge: lost | uncharged (the worker fenced itself) | interrupted (ordered from outside) | released. One that others
-- found dead while it drained was killed by those who had told it to stop: interrupted, not lost.
--
-- Its last sign of life is the last registration, claim or renewal that was accepted, or what p_reason says of a later one: whoever
-- watched its process gives the age of that sight as detectedAfterMs.
create or replace function end_workers(
  p_namespace text,
  p_workers uuid[],
  p_charge text,
  p_layer smallint,
  p_reason jsonb
) returns uuid[]
language plpgsql
as $$
declare
  v_ended uuid[];
begin
  if p_charge is null or p_charge not in ('lost', 'uncharged', 'interrupted', 'released') then
    raise exception using errcode = 'LH003',
      message = format('%s is no charge: lost, uncharged, interrupted or released', coalesce(p_charge, 'null'));
  end if;
  perform 1 from worker where incarnation = any (p_workers) order by incarnation for no key update;
  with ended as (
    update worker
    set ended_at = clock(),
        end_charge = case
          when p_charge = 'lost' and p_layer >= 1 and coalesce(draining_at, drain_requested_at) is not null then 'interrupted'
          else p_charge
        end,
        end_layer = p_layer,
        alone_for = null
    where incarnation = any (p_workers) and namespace = p_namespace and ended_at is null
    returning incarnation,
              greatest(0, least(milliseconds_between(seen_at, clock()), (p_reason ->> 'detectedAfterMs')::numeric::bigint)) as silent_ms
  ),
  explained as (
    update worker_detail d
    set ended_at = clock(),
        end_reason = jsonb_build_object('layer', p_layer) || jsonb_strip_nulls(p_reason)
      || jsonb_build_object('lastSeenAt', iso(clock() - milliseconds(e.silent_ms)), 'detectedAfterMs', e.silent_ms)
    from ended e
    where d.incarnation = e.incarnation
    returning d.incarnation, d.id, d.end_reason
  ),
  recorded as (
    insert into event (at, namespace, kind, worker, data)
    select clock(), p_namespace, 'worker.offline', incarnation, end_reason || jsonb_build_object('workerId', id)
    from explained
  )
  select coalesce(array_agg(incarnation order by incarnation), '{}') into v_ended from ended;
  perform resign_sweepers(v_ended);
  -- One that lives after all, and did not end itself, is told at once.
  if p_layer is distinct from 0 then
    perform hint(p_namespace, 'renew:' || w) from unnest(v_ended) as w;
  end if;
  -- Somebody has to judge whether an alert is due, and with nothing running nobody sweeps; a sweep judges for itself. And they may have
  -- been the last of a target that jobs do not wait for.
  if p_layer in (1, 2) and cardinality(v_ended) > 0 or exists (select from aim where namespace = p_namespace) then
    perform hint(p_namespace, 'watch');
  end if;
  return v_ended;
end
$$;
