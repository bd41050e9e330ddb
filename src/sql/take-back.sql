-- Ends the open attempts of workers that have ended and decides what becomes of their jobs: the only place where an
-- attempt ends other than by its own outcome. At most p_limit jobs; null means all.
--
-- A job that somebody holds at this moment (its outcome is being written, a client cancels it in a transaction of its own) is
-- passed over: the next sweep finds it. Waiting would hold up the recovery of all others, and the tick with it.
--
-- Cancel wins over everything. A loss counts in a row, starting anew after progress; at max_lost the job has failed as
-- poison. What goes back stands at the front, without back-off.
create or replace function take_back(p_namespace text, p_workers uuid[], p_limit integer)
returns table (job_id uuid, job_status job_status, end_code text)
language plpgsql set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  j record;
  v_charge text;
  v_worker_lost boolean;
  v_reason jsonb;
  v_lost integer;
  v_interruptions integer;
  v_status job_status;
  v_ended_as attempt_end;
  v_end jsonb;
  v_back uuid[] := '{}';
  v_keys text[] := '{}';
  v_runs uuid[] := '{}';
  v_run_states text[] := '{}';
  v_poison uuid[] := '{}';
begin
  for j in
    select held.*
    from (
      -- Ordered afterwards: a limit on ordered rows is an invitation to walk all jobs in their order.
      select j.*
      from held_job h
      cross join lateral (select * from job where job.id = h.id and job.token = h.token for no key update skip locked) as j
      where h.holder = any (p_workers) and h.namespace = p_namespace
      limit p_limit
    ) as held
    order by held.id
  loop
    -- A worker row that is missing (a restore lost it) counts as lost. One that was killed while it drained is not charged,
    -- and yet it was lost to a job that may not simply run again.
    select coalesce(w.end_charge, 'lost'),
           w.incarnation is null or w.end_charge in ('lost', 'uncharged') or coalesce(w.end_layer, 0) >= 1,
           jsonb_build_object('code', 'worker_lost', 'message', 'its worker is unknown to this database') || coalesce(d.end_reason - 'shutdown', '{}')
    into v_charge, v_worker_lost, v_reason
    from (select j.worker as incarnation) x
    left join worker w on w.incarnation = x.incarnation
    left join worker_detail d on d.incarnation = x.incarnation;

    v_lost := case when j.progressed then 0 else j.lost end + case when v_charge = 'lost' then 1 else 0 end;
    v_interruptions := j.interruptions + case when v_charge = 'interrupted' then 1 else 0 end;
    v_ended_as := case when v_charge = 'interrupted' then 'interrupted' when v_charge = 'released' then 'released' else 'lost' end;
    v_end := null;
    if j.cancel_requested_at is not null then
      v_status := 'cancelled';
      v_end := (select end_reason from job_detail d where d.job_id = j.id);
    elsif v_worker_lost and j.on_worker_lost = 'fail' then
      v_status := 'failed';
      v_end := v_reason || '{"code": "worker_lost"}';
    elsif v_worker_lost and j.on_worker_lost = 'hold' then
      v_status := 'held';
      v_end := v_reason || '{"code": "worker_lost"}';
    elsif v_charge = 'lost' and v_lost >= j.max_lost then
      v_status := 'failed';
      v_end := v_reason || jsonb_build_object('code', 'poison',
        'message', case when v_lost = 1 then 'its worker was lost while running it'
                        else format('%s workers in a row were lost while running it', v_lost) end);
    elsif v_interruptions >= interruptions_max() then
      v_status := 'held';
      v_end := v_reason || jsonb_build_object('code', 'interrupted_too_often',
        'message', format('it was interrupted %s times', v_interruptions));
    else
      v_status := 'pending';
      v_back := v_back || j.id;
    end if;

    if v_status in ('failed', 'cancelled') then
      delete from job where id = j.id;
      if j.run_id is not null then
        v_runs := v_runs || j.run_id;
        v_run_states := v_run_states || v_status::text;
      end if;
    else
      update job
      -- It was due when it was begun, also where the clock has stepped back since.
      set run_at = least(run_at, clock()), standing = v_status, lost = v_lost, interruptions = v_interruptions, token = null, holds_key = false, place = null
      where id = j.id;
    end if;
    if v_end is not null then
      update job_detail d set end_reason = v_end where d.job_id = j.id;
    end if;
    insert into attempt (job_id, attempt, token, worker, started_at, ended_at, ended_as, job_status, failures, lost, interruptions,
                         end_reason, last_checkpoint)
    values (j.id, j.attempt, j.token, j.worker, j.started_at, clock(), v_ended_as, v_status, j.failures, v_lost, v_interruptions, v_reason,
            case when j.progressed then (select c.value from checkpoint c where c.job_id = j.id and c.attempt = j.attempt) end);
    perform record_event(p_namespace,
      case when v_end ->> 'code' = 'poison' then 'job.poisoned'
           when v_ended_as = 'lost' then 'job.recovered'
           else 'job.' || v_ended_as end,
      array[j.id], j.worker,
      v_reason || jsonb_build_object('attempt', j.attempt, 'status', v_status));

    -- Who listens for the ends of jobs hears of this one too.
    if v_status in ('failed', 'cancelled', 'held') then
      perform record_event(p_namespace, 'job.' || v_status, array[j.id], null, v_end);
    end if;

    if v_end ->> 'code' = 'poison' then
      v_poison := v_poison || j.id;
    end if;
    if j.concurrency_key is not null then
      v_keys := v_keys || j.concurrency_key;
    end if;
    job_id := j.id;
    job_status := v_status;
    end_code := v_end ->> 'code';
    return next;
  end loop;
  if v_runs <> '{}' then
    perform tally_ended(v_runs, v_run_states);
  end if;
  if cardinality(v_back) > 0 then
    perform put_back(v_back);
  end if;
  if v_keys <> '{}' then
    perform free_keys(p_namespace, v_keys);
  end if;
  with emptied as (
    update worker
    set emptied_at = clock()
    where incarnation = any (p_workers) and ended_at is not null and emptied_at is null
      and not exists (select from held_job h where h.holder = worker.incarnation)
    returning incarnation
  )
  delete from claimed c
  where c.worker = any (p_workers)
    and (c.worker in (select incarnation from emptied)
      or not exists (select from worker w where w.incarnation = c.worker)
        and not exists (select from held_job h where h.holder = c.worker));
  if v_poison <> '{}' then
    perform raise_poison(p_namespace, v_poison);
  end if;
  if job_id is not null then
    perform hint(p_namespace, 'pending:*');
  end if;
end
$$;
