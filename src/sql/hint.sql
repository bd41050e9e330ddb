-- Tells whoever listens that something may have changed. Only ever a hint: everything works, slower, without it.
-- Payloads: pending:QUEUE (* for all), run:ID (that run has ended), renew:INCARNATION (its worker should ask), watch (something is leased
-- again). The first two have a channel of their own, CHANNEL_pending: a worker hears them on the connection that it claims on, the others
-- on the one that it renews on.
create or replace function hint(p_namespace text, p_payload text) returns void
language plpgsql
as $$
begin
  perform pg_notify(channel_of(p_namespace) || case when p_payload ~ '^(pending|run):' then '_pending' else '' end, p_payload);
end
$$;
