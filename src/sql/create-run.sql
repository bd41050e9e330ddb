-- A new run, active, and its document. p_options: stage, target, maxFailed, budget {tokens, usd}, fillGraceMs, and rest: cancel (the
-- default) or keep, what its end does with the jobs that are left.
create or replace function create_run(
  p_namespace text,
  p_name text,
  p_criteria jsonb default '{}',
  p_options jsonb default '{}'
) returns jsonb
language plpgsql security definer set search_path from current
as $$
declare
  v_id uuid := run_id_of(clock());
begin
  perform guard();
  if btrim(coalesce(p_name, '')) = '' or length(p_name) > 200 then
    raise exception using errcode = 'LH003', message = 'the name of a run has 1 to 200 characters';
  elsif least((p_options ->> 'target')::bigint, (p_options #>> '{budget,tokens}')::bigint) < 1
    or (p_options #>> '{budget,usd}')::numeric <= 0
    or least((p_options ->> 'maxFailed')::bigint, (p_options ->> 'fillGraceMs')::bigint) < 0 then
    raise exception using errcode = 'LH003', message = 'target and budget of a run are above 0, maxFailed and fillGraceMs at least 0';
  elsif coalesce(p_options ->> 'rest', 'cancel') not in ('cancel', 'keep') then
    raise exception using errcode = 'LH003', message = format('rest is cancel or keep, got %s', p_options ->> 'rest');
  elsif octet_length(p_criteria::text) > input_bytes_max() then
    raise exception using errcode = 'LH004', message = format('the criteria of a run are larger than %s bytes', input_bytes_max());
  end if;
  insert into run (id, namespace, name, stage, criteria, target, max_failed, budget_tokens, budget_usd, fill_grace_ms, keeps_rest, created_at)
  values (v_id, p_namespace, p_name, p_options ->> 'stage', coalesce(p_criteria, '{}'), (p_options ->> 'target')::bigint,
          (p_options ->> 'maxFailed')::bigint, (p_options #>> '{budget,tokens}')::bigint, (p_options #>> '{budget,usd}')::numeric,
          coalesce((p_options ->> 'fillGraceMs')::bigint, fill_grace_ms()), p_options ->> 'rest' is not distinct from 'keep', clock());
  perform record_event(p_namespace, 'run.created', '{}', null, jsonb_build_object('runId', v_id, 'name', p_name));
  return (select run_document(row(t.*)::run_truth) from run_truth t where t.id = v_id);
end
$$;

create or replace function run_id_of(p_at timestamptz) returns uuid
language sql volatile
as $$
  select (lpad(to_hex((extract(epoch from p_at) * 1000)::bigint), 12, '0') || '7' || right(gen_random_uuid()::text, 3)
    || '8' || right(gen_random_uuid()::text, 3) || right(gen_random_uuid()::text, 12))::uuid
$$;
