-- Workers whose id or incarnation is this, or ends or begins like this; newest first, at most three.
create or replace function find_workers(p_namespace text, p_text text) returns jsonb
language plpgsql stable security definer set search_path from current
as $$
begin
  perform ask_about_missing(p_namespace);
  return (
    select coalesce(jsonb_agg(worker_document(row(t.*)::worker_truth) order by t.registered_at desc), '[]')
    from (
      select * from worker_truth
      where namespace = p_namespace
        and (id = p_text or incarnation::text = p_text or right(id, length(p_text)) = p_text
             or starts_with(id, p_text) or hostname = p_text)
      order by ended_at is not null, registered_at desc
      limit 3
    ) as t
  );
end
$$;
