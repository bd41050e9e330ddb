-- Ends an active run, whose row the caller has locked. What is left is cancelled, a first batch here and the rest by the sweeps, or
-- goes on without the run.
create or replace function finish_run(p_run uuid, p_status run_status, p_keeps_rest boolean, p_reason jsonb) returns void
language plpgsql
as $$
declare
  v_namespace text;
begin
  perform fold_run(p_run);
  update run
  set status = p_status, finished_at = clock(), keeps_rest = p_keeps_rest, end_reason = p_reason
  where id = p_run
  returning namespace into v_namespace;
  perform record_event(v_namespace, 'run.' || p_status, '{}', null, jsonb_build_object('runId', p_run) || p_reason);
  if not p_keeps_rest then
    perform cancel_rest(p_run, rest_batch());
  end if;
  perform hint(v_namespace, 'run:' || p_run);
  perform hint(v_namespace, 'watch');
end
$$;
