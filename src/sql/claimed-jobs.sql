-- A claimed job as its worker gets it. Put together as text: a record to JSON takes several times as long. What is absent is 0, null or {}, and
-- the first attempt.
create or replace function claimed_job(
  p_job uuid, p_token uuid, p_attempt integer, p_failures smallint, p_run uuid, p_input jsonb, p_options jsonb
) returns text
language sql stable
as $$
  select concat(
    '{"id":"', p_job, '","token":"', p_token, '"', ',"attempt":' || nullif(p_attempt, 1), ',"failures":' || nullif(p_failures, 0), ',"runId":"' || p_run || '"',
    ',"options":' || nullif(p_options::text, '{}'), ',"input":', p_input,
    case when p_attempt > 1 then ',"resume":' || resume_of(p_job, p_attempt) end, '}')
$$;

-- Claimed jobs of one lane: what they share is said once.
create or replace function claimed_group(p_queue text, p_type text, p_jobs text) returns text
language sql immutable
as $$
  select concat('{"queue":', to_json(p_queue), ',"type":', to_json(p_type), ',"jobs":[', p_jobs, ']}')
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
    select string_agg(claimed_group(l.queue, l.type, l.jobs), ',' order by l.priority desc, l.front desc, l.place)
    from (
      select d.queue, d.type, j.priority, j.lane & 1 as front, min(j.place) as place,
             string_agg(claimed_job(j.id, j.token, j.attempt, j.failures, j.run_id, d.input, d.options), ',' order by j.place, j.id) as jobs
      from held_job h
      cross join lateral (select * from job where id = h.id offset 0) as j
      cross join lateral (select * from job_detail where job_id = h.id offset 0) as d
      where h.holder = p_worker and h.claim = p_claim_number
      group by d.queue, d.type, j.priority, j.lane
    ) as l
  );
end
$$;
