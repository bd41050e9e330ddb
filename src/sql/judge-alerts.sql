-- Compares a namespace's rules with what is: raises what is found and not open, resolves what is open and not found, and announces
-- both, once: as events, as deliveries of its webhooks, and in the answer, for the log of whoever swept. Returns the announced changes.
--
-- Two at once: the second leaves it to the first. Waits for nobody, as a sweep calls it with the tick in hand.
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

  -- Whoever has an alert in his hand (acknowledges it in an open transaction) holds up nothing: it is passed over, for a later judgement.
  -- Nobody else inserts here at the same time, but for alerts of poison, which are not found unless they are there.
  with found as materialized (
    select * from alert_conditions(p_namespace)
  ),
  over as (
    update alert
    set resolved_at = v_now
    where id = any (array(
      select a.id from alert a
      where a.namespace = p_namespace and a.resolved_at is null
        and not exists (select from found f where f.rule = a.rule and f.subject = a.subject)
      order by a.id
      for no key update skip locked
    ))
  ),
  changed as (
    update alert a
    set message = f.message, data = f.data
    from found f
    where a.rule = f.rule and a.subject = f.subject and a.id = any (array(
      select o.id from alert o
      join found n on n.rule = o.rule and n.subject = o.subject
      where o.namespace = p_namespace and o.resolved_at is null and (o.data <> n.data or o.message <> n.message)
      order by o.id
      for no key update of o skip locked
    ))
  )
  insert into alert (namespace, rule, subject, message, data, raised_at)
  select p_namespace, f.rule, f.subject, f.message, f.data, v_now
  from found f
  where not exists (
    select from alert a where a.namespace = p_namespace and a.rule = f.rule and a.subject = f.subject and a.resolved_at is null
  );

  with raised as (
    update alert
    set announced_at = v_now
    where id = any (array(
      select id from alert
      where namespace = p_namespace and resolved_at is null and announced_at is null
      order by id
      for no key update skip locked
    ))
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
  -- One that is being removed in somebody's transaction is owed nothing more, whatever becomes of that.
  told as materialized (
    select h.id, h.rules from webhook h
    where h.namespace = p_namespace and exists (select from changes)
    order by h.id
    for key share skip locked
  ),
  owed as (
    insert into webhook_delivery (webhook_id, namespace, kind, body, created_at, due_at)
    select h.id, p_namespace, c.kind, jsonb_build_object('type', c.kind, 'timestamp', iso(c.at), 'data', c.document)::text, v_now, v_now
    from changes c
    join told h on h.rules is null or c.rule = any (h.rules)
  )
  select coalesce(jsonb_agg(jsonb_build_object('kind', kind, 'alert', document) order by at), '[]') into v_changes from changes;

  -- What nobody looks at any more; a few at a time.
  delete from alert where id in (
    select id from alert where namespace = p_namespace and resolved_at < v_now - interval '30 days' order by resolved_at limit 100
    for no key update skip locked
  );
  delete from webhook_delivery where id in (
    select d.id
    from webhook h
    cross join lateral (
      select id from webhook_delivery
      where webhook_id = h.id and created_at < v_now - interval '7 days' order by created_at limit 100
      for no key update skip locked
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
