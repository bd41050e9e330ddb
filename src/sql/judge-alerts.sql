-- Compares a namespace's rules with what is: raises what is found and not open, resolves what is open and not found, and announces
-- both, once: as events, as deliveries of its webhooks, and in the answer, for the log of whoever swept. Returns the announced changes.
--
-- Two at once: the second leaves it to the first.
create or replace function judge_alerts(p_namespace text) returns jsonb
language plpgsql
as $$
declare
  v_now timestamptz := clock();
  v_changes jsonb;
begin
  -- An insert that conflicts would wait for whoever holds the row.
  if not exists (select from sweeper where namespace = p_namespace) then
    insert into sweeper (namespace) values (p_namespace) on conflict do nothing;
  end if;
  perform 1 from sweeper where namespace = p_namespace for no key update skip locked;
  if not found or database_copied() then
    return '[]';
  end if;
  update sweeper set judged_at = v_now where namespace = p_namespace;
  perform mark_lanes(p_namespace);

  with found as materialized (
    select * from alert_conditions(p_namespace)
  ),
  over as (
    update alert a
    set resolved_at = v_now
    where a.namespace = p_namespace and a.resolved_at is null
      and not exists (select from found f where f.rule = a.rule and f.subject = a.subject)
  )
  insert into alert as a (namespace, rule, subject, message, data, raised_at)
  select p_namespace, rule, subject, message, data, v_now from found
  on conflict (namespace, rule, subject) where resolved_at is null do update
  set message = excluded.message, data = excluded.data
  where a.data <> excluded.data or a.message <> excluded.message;

  with raised as (
    update alert
    set announced_at = v_now
    where namespace = p_namespace and resolved_at is null and announced_at is null
    returning *
  ),
  changes as materialized (
    select 'alert.raised' as kind, alert_document(row(r.*)::alert) as document, r.rule, r.raised_at as at from raised r
    union all
    -- Raised and over before anybody could be told: nobody is.
    select 'alert.resolved', alert_document(row(a.*)::alert), a.rule, a.resolved_at
    from alert a
    where a.namespace = p_namespace and a.resolved_at = v_now and a.announced_at is not null
  ),
  recorded as (
    insert into event (at, namespace, kind, job_ids, data)
    select c.at, p_namespace, c.kind, '{}', c.document from changes c
  ),
  owed as (
    insert into webhook_delivery (webhook_id, namespace, kind, body, created_at, due_at)
    select h.id, p_namespace, c.kind, jsonb_build_object('type', c.kind, 'timestamp', iso(c.at), 'data', c.document)::text, v_now, v_now
    from changes c
    join webhook h on h.namespace = p_namespace and (h.rules is null or c.rule = any (h.rules))
  )
  select coalesce(jsonb_agg(jsonb_build_object('kind', kind, 'alert', document) order by at), '[]') into v_changes from changes;

  -- What nobody looks at any more; a few at a time.
  delete from alert where id in (
    select id from alert where namespace = p_namespace and resolved_at < v_now - interval '30 days' order by resolved_at limit 100
  );
  delete from webhook_delivery where id in (
    select d.id
    from webhook h
    cross join lateral (
      select id from webhook_delivery
      where webhook_id = h.id and created_at < v_now - interval '7 days' order by created_at limit 100
    ) as d
    where h.namespace = p_namespace
  );
  return v_changes;
end
$$;

-- An alert as the JSON that program, client, events and webhooks show.
create or replace function alert_document(a alert) returns jsonb
language sql stable
as $$
  select jsonb_build_object(
    'id', a.id, 'namespace', a.namespace, 'rule', a.rule, 'subject', a.subject,
    'status', case when a.resolved_at is not null then 'resolved' when a.acknowledged_at is not null then 'acknowledged' else 'open' end,
    'message', a.message, 'data', a.data, 'raisedAt', iso(a.raised_at), 'acknowledgedAt', iso(a.acknowledged_at),
    'acknowledgedBy', a.acknowledged_by, 'resolvedAt', iso(a.resolved_at)
  )
$$;
