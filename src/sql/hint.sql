-- Tells whoever listens that something may have changed. Only ever a hint: everything works, slower, without it.
-- Payloads: pending:QUEUE (* for all), renew:INCARNATION (its worker should ask), watch (something is leased again). The first have a
-- channel of their own, CHANNEL_pending: a worker hears them on the connection that it claims on, the others on the one that it renews on.
create or replace function hint(p_namespace text, p_payload text) returns void
language plpgsql
as $$
begin
  perform pg_notify(channel_of(p_namespace) || case when starts_with(p_payload, 'pending:') then '_pending' else '' end, p_payload);
end
$$;
