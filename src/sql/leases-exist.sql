-- Whether anything is running in a namespace. Without that there is nothing to lose and nobody has to sweep.
create or replace function leases_exist(p_namespace text) returns boolean
language sql stable
as $$ select exists (select from job where namespace = p_namespace and status = 'running') $$;
