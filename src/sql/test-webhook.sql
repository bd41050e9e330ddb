-- Owes a webhook a test, taken at once by the caller, who sends it. Null: there is no such webhook in this namespace.
create or replace function test_webhook(p_namespace text, p_webhook uuid) returns jsonb
language plpgsql security definer set search_path from current
as $$
declare
  v_id uuid;
begin
  perform guard();
  insert into webhook_delivery (webhook_id, namespace, kind, body, created_at, due_at)
  select h.id, p_namespace, 'alert.test',
         jsonb_build_object('type', 'alert.test', 'timestamp', iso(clock()),
           'data', jsonb_build_object('namespace', p_namespace, 'message', 'a test: nothing is wrong'))::text, clock(), clock()
  from webhook h
  where h.id = p_webhook and h.namespace = p_namespace
  returning id into v_id;
  return take_delivery(v_id);
end
$$;
