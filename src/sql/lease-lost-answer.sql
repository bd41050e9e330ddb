-- What a worker is told whose row has ended, is missing or belongs to another epoch of the database.
create or replace function lease_lost_answer(p_worker uuid) returns json
language sql stable
as $$
  select json_build_object(
    'outcome', 'lease_lost',
    'reason', coalesce(
      (select end_reason from worker_detail where incarnation = p_worker),
      jsonb_build_object('code', 'unknown_here', 'message', 'this database does not know this worker incarnation, or has had a failover since')
    ))
$$;
