-- What must never be found, as rows; empty when all is well. A job that is not terminal and can neither be claimed now or later,
-- nor is held by a person, nor has an owner whose lease holds or whose recovery is due, is stuck: there is no such job.
create or replace function invariants() returns table (rule text, job_id uuid)
language sql stable security definer set search_path from current
as $$
  select 'running has a worker row, or a sweep is due', j.id
  from job j
  left join worker w on w.incarnation = j.worker
  where j.status = 'running' and w.incarnation is null and not exists (select from tick where at > clock() - milliseconds(gap_ms()))
  union all
  select 'running has a token and no ended attempt of its number', j.id
  from job j
  join attempt a on a.job_id = j.id and a.attempt = j.attempt
  where j.status = 'running'
  union all
  select 'a waiting or ended job has no token', j.id from job j where j.status <> 'running' and j.token is not null
  union all
  select 'every claim left one attempt', j.id
  from job j
  where (select count(*) from attempt a where a.job_id = j.id) <> j.attempt - case when j.status = 'running' then 1 else 0 end
  union all
  select 'a job that ended by attempts ended as its last one says', j.id
  from job j
  join attempt a on a.job_id = j.id and a.attempt = j.attempt
  where j.status = 'completed' and a.ended_as <> 'completed'
$$;
