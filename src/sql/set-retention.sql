-- Changes how long a namespace keeps what has ended: any of keepMs, keepCount (null: no limit) and archive. The next pass is due at once.
create or replace function set_retention(p_namespace text, p_changes jsonb) returns jsonb
language plpgsql security definer set search_path from current set lock_timeout = '1s'
as $$
declare
  v_name text := (select key from jsonb_object_keys(p_changes) as key where key not in ('keepMs', 'keepCount', 'archive') limit 1);
  v_keep_ms numeric := (p_changes ->> 'keepMs')::numeric;
  v_keep_count numeric := (p_changes ->> 'keepCount')::numeric;
begin
  perform guard();
  if v_name is not null then
    raise exception using errcode = 'LH003', message = format('%s is no setting of retention: keepMs, keepCount or archive', v_name);
  end if;
  if v_keep_ms not between keep_min_ms() and 3155760000000 or v_keep_ms <> trunc(v_keep_ms) then
    raise exception using errcode = 'LH003',
      message = format('keepMs is a whole number from %s (an hour) to 3155760000000 (a hundred years), or null, got %s', keep_min_ms(), v_keep_ms);
  end if;
  if v_keep_count not between 0 and 1000000000 or v_keep_count <> trunc(v_keep_count) then
    raise exception using errcode = 'LH003', message = format('keepCount is a whole number from 0 to 1000000000, or null, got %s', v_keep_count);
  end if;
  insert into retention (namespace, keep_ms) values (p_namespace, keep_default_ms()) on conflict do nothing;
  update retention
  set keep_ms = case when p_changes ? 'keepMs' then v_keep_ms else keep_ms end,
      keep_count = case when p_changes ? 'keepCount' then v_keep_count else keep_count end,
      archive = coalesce((p_changes ->> 'archive')::boolean, archive),
      due_at = clock(),
      problem = null
  where namespace = p_namespace;
  return retention_of(p_namespace);
end
$$;
