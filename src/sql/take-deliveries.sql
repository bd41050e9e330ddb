-- Hands out deliveries that are due, signed, each with a token that alone may say what becomes of this try; nobody else is given them for
-- the next half minute, which is longer than a try may take. A worker must be live, and of this namespace.
create or replace function take_deliveries(p_namespace text, p_worker uuid, p_limit integer default 10) returns jsonb
language plpgsql security definer set search_path from current
as $$
declare
  v_ids uuid[];
begin
  perform guard();
  if not exists (
    select from worker where incarnation = p_worker and namespace = p_namespace and ended_at is null and until > clock()
  ) then
    return '[]';
  end if;
  v_ids := array(
    select id from webhook_delivery
    where namespace = p_namespace and delivered_at is null and given_up_at is null and due_at <= clock()
    order by due_at
    limit p_limit
    for no key update skip locked
  );
  return coalesce((select jsonb_agg(take_delivery(id)) from unnest(v_ids) as id), '[]');
end
$$;

-- One delivery, whose row the caller has locked or has just made. The timestamp that is signed is the database's.
create or replace function take_delivery(p_delivery uuid) returns jsonb
language plpgsql
as $$
declare
  d webhook_delivery;
  h webhook;
  v_timestamp bigint := extract(epoch from clock())::bigint;
begin
  update webhook_delivery
  set token = gen_random_uuid(), tries = tries + 1, due_at = clock() + interval '30 seconds'
  where id = p_delivery
  returning * into d;
  select * into h from webhook where id = d.webhook_id;
  if not found then
    return null;
  end if;
  return jsonb_build_object(
    'id', d.id, 'token', d.token, 'url', h.url, 'allowPrivate', h.allow_private, 'kind', d.kind, 'body', d.body,
    'tries', d.tries, 'timestamp', v_timestamp, 'signature', sign_webhook(h.secret, d.id, v_timestamp, d.body));
end
$$;
