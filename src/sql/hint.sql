-- Tells whoever listens that something may have changed. Only ever a hint: everything works, slower, without it.
-- Payloads: pending:QUEUE (* for all), run:ID (that run has ended), renew:INCARNATION (its worker should ask), watch (something is leased
-- again). One channel: each listening session is woken by every notification of its database, whatever channel it is on.
create or replace function hint(p_namespace text, p_payload text) returns void
language sql
as $$ select pg_notify(channel_of(p_namespace), p_payload) $$;
