-- Refuses to run where the protocol is not safe, and makes the commit durable whatever the role's settings say.
-- Under REPEATABLE READ a recovery works on an old snapshot and silently leaves jobs behind. set_config(…, true) lasts
-- until the commit; a function's own SET clause would be undone before it.
create or replace function guard() returns void
language plpgsql
as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception using
      errcode = 'LH001',
      message = format('Leasehold needs READ COMMITTED, and this transaction is %s', upper(current_setting('transaction_isolation'))),
      hint = 'Reset default_transaction_isolation of the role or database, or begin the transaction with READ COMMITTED.';
  end if;
  if current_setting('synchronous_commit') in ('off', 'local') then
    perform set_config('synchronous_commit', 'on', true);
  end if;
end
$$;
