-- Ends a run by hand. p_rest: cancel or keep what is left; null as its rules say. Answers its status: the asked one once it has ended so, now
-- or before, another when it had ended otherwise; not_found. Waits for whoever judges it, never for whoever puts jobs into it: what is
-- committed into it afterwards is what is left, too.
create or replace function end_run(p_namespace text, p_run uuid, p_status run_status, p_rest text default null, p_reason jsonb default '{}')
returns text
language plpgsql security definer set search_path from current
as $$
declare
  v_run run;
begin
  perform guard();
  if p_status is null or p_status = 'active' or coalesce(p_rest, 'keep') not in ('cancel', 'keep') then
    raise exception using errcode = 'LH003',
      message = format('a run ends as completed, error or archived and its rest is cancel or keep, got %s and %s', p_status, p_rest);
  end if;
  select * into v_run from run where id = p_run and namespace = p_namespace for no key update;
  if not found then
    return 'not_found';
  elsif v_run.status <> 'active' then
    return v_run.status;
  end if;
  perform finish_run(p_run, p_status, coalesce(p_rest = 'keep', v_run.keeps_rest),
    jsonb_build_object('code', 'by_hand', 'message', 'ended by hand') || p_reason);
  return p_status;
end
$$;
