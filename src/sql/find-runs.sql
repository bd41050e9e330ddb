-- The runs that people mean: by id, by the end of it (4 or more characters), or by name; at most three, the newest first.
create or replace function find_runs(p_namespace text, p_text text) returns jsonb
language sql stable security definer set search_path from current
as $$
  select coalesce(jsonb_agg(run_document(row(t.*)::run_truth) order by t.id desc), '[]')
  from run_truth t
  where t.namespace = p_namespace
    and t.id = any (
      case
        when p_text ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then array[p_text::uuid]
        else array(
          select id from run
          where namespace = p_namespace and (name = p_text or length(p_text) >= 4 and right(id::text, length(p_text)) = lower(p_text))
          order by id desc
          limit 3
        )
      end
    )
$$;
