-- A reserved connection was gone and its worker is heard again, whether it was ended for that or nobody had even noticed: the network
-- between that machine and the database is unsteady, so layer 3 keeps quiet about the machine for one lease.
create or replace function connection_came_back(p_worker worker) returns void
language sql
as $$
  update machine set connection_false_alarm_at = clock()
  where namespace = p_worker.namespace and id = p_worker.machine_id
$$;
