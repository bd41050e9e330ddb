-- Whether a worker is what a job is aimed at: machine:ID, worker:ID or label:NAME.
create or replace function fits_target(w worker_truth, p_target text) returns boolean
language sql stable
as $$
  select p_target in ('machine:' || w.machine_id, 'worker:' || w.id)
    or (starts_with(p_target, 'label:') and substr(p_target, 7) = any (w.labels))
$$;
