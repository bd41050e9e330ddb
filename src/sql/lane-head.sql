-- The first due job of a lane (a queue and type) below a priority, or null; and when the next one that is not due yet will be.
-- One index probe per distinct priority: future jobs of a priority are stepped over, never walked.
create or replace function lane_head(
  p_namespace text,
  p_queue text,
  p_type text,
  p_below integer,
  out head_priority integer,
  out head_at timestamptz,
  out head_id uuid,
  out next_due_at timestamptz
)
language plpgsql stable
as $$
declare
  v_below integer := p_below;
begin
  loop
    select j.priority, j.run_at, j.id
    into head_priority, head_at, head_id
    from job j
    where j.namespace = p_namespace and j.queue = p_queue and j.type = p_type
      and j.status = 'pending' and j.priority < v_below
    order by j.priority desc, j.run_at, j.id
    limit 1;
    exit when not found or head_at <= clock();
    next_due_at := least(next_due_at, head_at);
    v_below := head_priority;
  end loop;
  if not found then
    head_priority := null;
    head_at := null;
    head_id := null;
  end if;
end
$$;
