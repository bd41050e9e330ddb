-- Makes the fronts of lanes known to claims, where jobs stand that were given back.
create or replace function know_fronts(p_lanes bigint[]) returns void
language sql
as $$
  select know_lane(f.id | 1, f.namespace, f.queue, f.type, f.priority, f.run_id, f.target)
  from (select distinct l.* from lane l where l.id = any (select distinct id & ~1::bigint from unnest(p_lanes) as id)) as f
$$;
