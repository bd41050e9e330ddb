-- The name on which hints about a namespace are sent: short, whatever the names of schema and namespace are.
create or replace function channel_of(p_namespace text) returns text
language sql stable parallel safe
as $$ select 'leasehold_' || left(md5(current_schema() || '/' || p_namespace), 16) $$;

-- The same for whoever listens, whatever their search path.
create or replace function channel(p_namespace text) returns text
language sql stable security definer set search_path from current
as $$ select channel_of(p_namespace) $$;
