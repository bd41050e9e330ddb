-- What workers hold: each running job with the worker and the claim that it is found by. By key from claim to job, whatever the statistics
-- say; a job is as its own row says, and a claim that is over leads to none.
create or replace view held_job as
select c.worker as holder, c.claim_number as claim, j.id, j.token, j.namespace, j.run_id, j.lost, j.max_lost, j.on_worker_lost, j.progressed,
       j.priority, j.lane, j.place, j.cancel_requested_at
from claimed c
cross join lateral unnest(c.jobs) as given (id)
cross join lateral (
  select * from job where job.id = given.id and job.token is not null and job.worker = c.worker and job.claim_number = c.claim_number offset 0
) as j
where c.remaining > 0;
