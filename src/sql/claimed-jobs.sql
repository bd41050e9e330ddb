-- A claimed job as its worker gets it. Put together as text: a record to JSON takes several times as long. What is absent is 0 or null.
create or replace function claimed_job(j job, d job_detail) returns text
language sql stable
as $$
  select concat(
    '{"id":"', (j).id, '","token":"', (j).token, '","attempt":', (j).attempt, ',"queue":', to_json((d).queue), ',"type":', to_json((d).type),
    ',"failures":' || nullif((j).failures, 0), ',"runId":"' || (j).run_id || '"', ',"input":', (d).input, ',"options":', (d).options,
    case when (j).attempt > 1 then ',"resume":' || resume_of((j).id, (j).attempt) end, '}')
$$;

-- What an earlier attempt left for this one.
create or replace function resume_of(p_job uuid, p_attempt integer) returns json
language plpgsql stable
as $$
begin
  return (
    select json_build_object(
      'checkpoint', c.value, 'attempt', a.attempt,
      'previousEnd', json_build_object('endedAs', a.ended_as, 'code', a.end_reason ->> 'code', 'message', a.end_reason ->> 'message'))
    from attempt a
    left join checkpoint c on c.job_id = a.job_id
    where a.job_id = p_job and a.attempt = p_attempt - 1
  );
end
$$;

-- What an earlier call of the same claim has given, as take said it.
create or replace function claimed_jobs(p_worker uuid, p_claim_number integer) returns text
language plpgsql stable
as $$
begin
  return (
    select string_agg(claimed_job(j, d), ',' order by j.priority desc, j.lane & 1 desc, j.place, j.id)
    from held_job h
    cross join lateral (select * from job where id = h.id offset 0) as j
    cross join lateral (select * from job_detail where job_id = h.id offset 0) as d
    where h.holder = p_worker and h.claim = p_claim_number
  );
end
$$;
