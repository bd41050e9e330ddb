-- Begins a pass that drops what a namespace need not keep any longer, if one is due: what the pass needs, or when to ask again.
--
-- A pass is rows read and deleted, in short transactions, without a lock but those on the rows that go; so two at once only waste work,
-- and the row of retention keeps them apart: whoever begins one puts the next off by retention_lease_ms, and each step of the pass
-- does so again. One that dies is followed by the next asker. p_now: now, whenever the next one is due.
--
-- p_archives: the caller hands jobs to an archive hook. From then on no job of the namespace is dropped without one, whoever asks.
--
-- Answer: begins; nextMs, when to ask again; needsArchive: it may not be this caller's, who has no hook; overdueMs: for how long a pass
-- has been due; below: the newest job that is too many, by keep_count.
create or replace function begin_retention(p_namespace text, p_archives boolean default false, p_now boolean default false) returns json
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off set lock_timeout = '1s'
as $$
declare
  v_now timestamptz := clock();
  v_row retention;
  v_begins boolean := false;
  v_needs_archive boolean := false;
  v_overdue_ms bigint := 0;
  v_next_ms bigint := retention_every_ms();
  v_below uuid;
begin
  perform guard();
  -- Not at each call: it would wait for a step that is under way.
  if not exists (select from retention where namespace = p_namespace) then
    insert into retention (namespace, keep_ms) values (p_namespace, keep_default_ms()) on conflict do nothing;
  end if;
  if p_archives then
    update retention set archive = true where namespace = p_namespace and not archive;
  end if;
  select * into v_row from retention where namespace = p_namespace for no key update skip locked;
  if found and (v_row.keep_ms is not null or v_row.keep_count is not null) then
    v_needs_archive := v_row.archive and not p_archives;
    v_overdue_ms := case when isfinite(v_row.due_at) then greatest(0, milliseconds_between(v_row.due_at, v_now)) else 0 end;
    -- One that is further away than it can be was written before the clock stepped back.
    v_begins := not v_needs_archive and (p_now or v_row.due_at <= v_now or v_row.due_at > v_now + milliseconds(2 * retention_every_ms()));
    if not v_begins and not v_needs_archive then
      v_next_ms := milliseconds_between(v_now, v_row.due_at);
    end if;
  end if;
  if not v_begins then
    return json_build_object('begins', false, 'nextMs', v_next_ms, 'needsArchive', v_needs_archive, 'overdueMs', v_overdue_ms, 'below', null);
  end if;
  update retention set due_at = v_now + milliseconds(retention_lease_ms()) where namespace = p_namespace;
  if v_row.keep_count is not null then
    v_below := (
      select d.job_id
      from job_detail d
      where d.namespace = p_namespace and not exists (select from job j where j.id = d.job_id)
      order by d.job_id desc
      offset v_row.keep_count limit 1
    );
  end if;
  return json_build_object('begins', true, 'nextMs', retention_lease_ms(), 'needsArchive', false, 'overdueMs', v_overdue_ms, 'below', v_below);
end
$$;

-- For how long a pass that is not heard of counts as under way. An archive hook may take half of it.
create or replace function retention_lease_ms() returns integer language sql immutable parallel safe as 'select 120000';
