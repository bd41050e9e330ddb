-- A machine is online exactly while a worker on it is.
create or replace view machine_truth as
select
  m.namespace,
  m.id,
  m.hostname,
  m.drain_requested_at,
  case when count(*) filter (where w.status <> 'offline') > 0 then 'online' else 'offline' end as status,
  count(*) filter (where w.status <> 'offline') as workers_online,
  count(w.incarnation) as workers_total,
  max(w.seen_at) as last_seen_at,
  m.witness_contradicted_at
from machine m
left join worker_truth w on w.namespace = m.namespace and w.machine_id = m.id
group by m.namespace, m.id, m.hostname, m.drain_requested_at, m.witness_contradicted_at;
