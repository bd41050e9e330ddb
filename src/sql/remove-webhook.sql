-- Forgets a webhook, and what it is still owed; from this statement on it is owed nothing more, also while the transaction is
-- open. False: there is none with this id in this namespace.
create or replace function remove_webhook(p_namespace text, p_webhook uuid) returns boolean
language plpgsql security definer set search_path from current
as $$
begin
  perform guard();
  delete from webhook where id = p_webhook and namespace = p_namespace;
  return found;
end
$$;
