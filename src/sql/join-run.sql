-- Refuses an enqueue into a run that there is not, or that has ended; else its end as full waits for the commit of the caller.
-- Many may enqueue at once: KEY SHARE conflicts with nothing but FOR UPDATE, which only that end and the clearing of an ended run take.
create or replace function join_run(p_namespace text, p_run uuid) returns void
language plpgsql
as $$
begin
  perform from run where id = p_run for key share;
  perform refuse_ended_run(p_namespace, p_run);
end
$$;

-- Whoever wants to work for a run needs one that goes on.
create or replace function refuse_ended_run(p_namespace text, p_run uuid) returns void
language plpgsql
as $$
declare
  v_status run_status := (select status from run where id = p_run and namespace = p_namespace);
begin
  if v_status is null then
    raise exception using errcode = 'LH006', message = format('no run %s in namespace %s', p_run, p_namespace);
  elsif v_status <> 'active' then
    raise exception using errcode = 'LH007', message = format('run %s ended as %s, and takes no more work', p_run, v_status);
  end if;
end
$$;
