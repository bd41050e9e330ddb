-- Machines whose id is this, or begins or ends like this, or that have this host name, each with its history of crashes; at most three.
create or replace function find_machines(p_namespace text, p_text text) returns jsonb
language plpgsql stable security definer set search_path from current
as $$
begin
  perform ask_about_missing(p_namespace);
  return (
    select coalesce(jsonb_agg(
      machine_document(row(t.*)::machine_truth)
        || jsonb_build_object('versions', crash_history(p_namespace, t.id, 86400000)) order by t.id), '[]')
    from (
      select *
      from machine_truth
      where namespace = p_namespace
        and (id = p_text or right(id, length(p_text)) = p_text or starts_with(id, p_text) or hostname = p_text)
      order by id <> p_text, status desc, id
      limit 3
    ) as t
  );
end
$$;
