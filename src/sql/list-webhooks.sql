-- Webhooks of a namespace, oldest first, each with what it is owed and how the last try went.
create or replace function list_webhooks(p_namespace text) returns jsonb
language sql stable security definer set search_path from current
as $$
  select coalesce(jsonb_agg(webhook_document(row(h.*)::webhook) order by h.created_at, h.id), '[]')
  from webhook h
  where h.namespace = p_namespace
$$;

-- A webhook as the JSON that program and client show, without its secret.
create or replace function webhook_document(h webhook) returns jsonb
language sql stable
as $$
  select jsonb_build_object(
    'id', h.id, 'url', h.url, 'rules', h.rules, 'allowPrivate', h.allow_private, 'createdAt', iso(h.created_at),
    'waiting', (
      select count(*) from webhook_delivery d where d.webhook_id = h.id and d.delivered_at is null and d.given_up_at is null
    ),
    'givenUp', (select count(*) from webhook_delivery d where d.webhook_id = h.id and d.given_up_at is not null),
    'lastDeliveredAt', (select iso(max(d.delivered_at)) from webhook_delivery d where d.webhook_id = h.id),
    'lastError', (
      select d.last_error from webhook_delivery d
      where d.webhook_id = h.id and d.delivered_at is null and d.last_error is not null
      order by d.created_at desc limit 1
    )
  )
$$;
