-- Whether somebody should judge a namespace's alerts: a worker has ended since they were judged, or one was raised and not told of; or
-- they were not judged for p_idle_ms although something waits, is open or is to be sent.
--
-- Ends are looked for from a little before the last judgement on, as they commit later than they are dated.
create or replace function alerts_due(p_namespace text, p_idle_ms integer) returns boolean
language plpgsql stable
as $$
declare
  v_now timestamptz := clock();
  v_judged_at timestamptz := coalesce((select judged_at from sweeper where namespace = p_namespace), '-infinity');
begin
  if v_judged_at > v_now - interval '1 second' and v_judged_at <= v_now then
    return false;
  end if;
  if exists (
    select from worker_detail
    where namespace = p_namespace and ended_at > greatest(v_judged_at - interval '5 seconds', v_now - interval '1 day')
  ) or exists (
    select from alert where namespace = p_namespace and resolved_at is null and announced_at is null
  ) then
    return true;
  end if;
  return (v_judged_at < v_now - milliseconds(p_idle_ms) or v_judged_at > v_now) and alerts_watch(p_namespace);
end
$$;

-- Whether there is something in a namespace that may become an alert, or that is one: with nothing here the database may sleep.
create or replace function alerts_watch(p_namespace text) returns boolean
language plpgsql stable
as $$
begin
  return exists (select from alert where namespace = p_namespace and resolved_at is null)
    or exists (
      select from webhook_delivery
      where namespace = p_namespace and delivered_at is null and given_up_at is null and due_at <= clock()
    )
    -- Later it is an alert, or nobody wants one.
    or exists (
      select from machine where namespace = p_namespace and witness_contradicted_at > clock() - interval '5 minutes'
    )
    or exists (
      select from worker w
      join worker_detail d using (incarnation)
      where w.namespace = p_namespace and w.ended_at is null
        and (
          w.spool_age_ms > 0
          -- Later it is an alert, or nobody wants one.
          or (d.listens and w.backend_pid is null and d.registered_at > clock() - interval '5 minutes')
        )
    )
    or exists (
      select from (select distinct id from lane where namespace = p_namespace) as l
      cross join lateral (
        -- From the end, where those are that wait, rather than over all that was taken before them.
        select from job
        where lane = l.id and standing = 'pending' and token is null and place > coalesce((select place from lane_mark where lane = l.id), 0)
        order by place desc limit 1
      ) as j
    )
    or exists (
      select from waiting_since(array(select distinct id from lane where namespace = p_namespace)) as w
      where least(w.due_at, w.last_at) <= clock()
    );
end
$$;
