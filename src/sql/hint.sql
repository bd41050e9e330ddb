-- Tells whoever listens that something may have changed. Only ever a hint: everything works, slower, without it.
-- Payloads: pending:QUEUE (* for all), renew:INCARNATION (its worker should ask), watch (something is leased again).
create or replace function hint(p_namespace text, p_payload text) returns void
language plpgsql
as $$
begin
  perform pg_notify(channel_of(p_namespace), p_payload);
end
$$;
