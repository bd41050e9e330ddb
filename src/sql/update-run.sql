-- Says of an active run which stage it is in, or that it is filled, so that it is over when its jobs are. Null leaves a thing as it is.
-- Answers its status; not_found.
create or replace function update_run(p_namespace text, p_run uuid, p_stage text default null, p_filled boolean default null) returns text
language plpgsql security definer set search_path from current
as $$
begin
  perform guard();
  update run
  set stage = coalesce(p_stage, stage), filled = coalesce(p_filled, filled)
  where id = p_run and namespace = p_namespace and status = 'active';
  if found and p_filled then
    perform judge_runs(p_namespace, array[p_run]);
  end if;
  return coalesce((select status::text from run where id = p_run and namespace = p_namespace), 'not_found');
end
$$;
