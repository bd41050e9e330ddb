-- An outcome whose token is not the job's: changes nothing but the attempt's late_result, with one exception that saves
-- money. If the attempt is the job's newest, the job merely waits and no cancel was asked, a completion is adopted.
-- Locks the job's live row, if there is one, before the attempt.
create or replace function settle_late(p_job uuid, p_token uuid, p_outcome text, p_value jsonb) returns text
language plpgsql
as $$
declare
  j job;
  a attempt;
  v_namespace text;
begin
  select * into j from job where id = p_job for no key update;
  select * into a from attempt where job_id = p_job and token = p_token for no key update;
  if not found then
    return 'lease_lost';
  end if;
  select namespace into v_namespace from job_detail where job_id = p_job;
  if (a.ended_as::text = p_outcome or (a.ended_as = 'failed' and p_outcome = 'failed_finally'))
    and a.value is not distinct from p_value
    or (a.ended_as = 'cancelled' and a.late_result is null and p_outcome <> 'completed' and a.value is not distinct from p_value)
    or (a.late_result ->> 'outcome' = p_outcome and a.late_result -> 'value' is not distinct from coalesce(p_value, 'null') and a.ended_as = 'cancelled') then
    return 'accepted before';
  end if;
  if p_outcome in ('released', 'interrupted') then
    return 'lease_lost';
  end if;
  if p_outcome = 'completed' and a.attempt = j.attempt and j.standing = 'pending' and j.token is null and j.cancel_requested_at is null
    and a.ended_as in ('lost', 'released', 'interrupted') then
    perform end_waiting(array[p_job], 'completed');
    update attempt
    set ended_as = 'completed', value = p_value,
        end_reason = coalesce(end_reason, '{}') || jsonb_build_object('adoptedAt', iso(clock()), 'adoptedAfter', ended_as)
    where job_id = p_job and attempt = a.attempt;
    perform record_event(v_namespace, 'job.completed', array[p_job], a.worker, '{"adopted": true}');
    return 'adopted';
  end if;
  if a.late_result is null then
    update attempt
    set late_result = jsonb_build_object('outcome', p_outcome, 'value', p_value, 'at', iso(clock()))
    where job_id = p_job and attempt = a.attempt;
  end if;
  perform record_event(v_namespace, 'job.stale_write', array[p_job], a.worker,
    jsonb_build_object('attempt', a.attempt, 'write', p_outcome));
  return 'lease_lost';
end
$$;
