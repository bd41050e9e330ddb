-- Counts jobs that have ended, each in its run; p_by -1 for those that begin anew.
create or replace function tally_ended(p_runs uuid[], p_statuses text[], p_by integer default 1) returns void
language sql
as $$
  insert into run_tally (run_id, completed, failed, cancelled)
  select e.run_id, p_by * count(*) filter (where e.status = 'completed'), p_by * count(*) filter (where e.status = 'failed'),
         p_by * count(*) filter (where e.status = 'cancelled')
  from unnest(p_runs, p_statuses) as e (run_id, status)
  group by e.run_id
$$;
