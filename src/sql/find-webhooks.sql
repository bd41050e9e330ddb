-- The webhooks whose id is this or ends like this, or that have this URL; at most three, the oldest first.
create or replace function find_webhooks(p_namespace text, p_text text) returns jsonb
language sql stable security definer set search_path from current
as $$
  select coalesce(jsonb_agg(webhook_document(row(h.*)::webhook) order by h.created_at, h.id), '[]')
  from (
    select *
    from webhook
    where namespace = p_namespace and (right(id::text, length(p_text)) = lower(p_text) or url = p_text)
    order by created_at, id
    limit 3
  ) as h
$$;
