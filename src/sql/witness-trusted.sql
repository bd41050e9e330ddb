-- Whether layer 2 counts on a machine: not once a worker that it had reported dead was heard again there (heard_again).
create or replace function witness_trusted(p_namespace text, p_machine text) returns boolean
language plpgsql stable
as $$
begin
  return not exists (select from machine where namespace = p_namespace and id = p_machine and witness_contradicted_at is not null);
end
$$;
