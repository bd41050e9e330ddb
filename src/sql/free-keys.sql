-- An attempt with a concurrency key has ended: brings back the job that is next for it, at the front of its lane. Called after the
-- row of the ended attempt was written, in a later statement. A claim that counted before either still holds the key's lock, and
-- then what it parked is found here; or it counts after this has committed, and finds the key free.
create or replace function free_keys(p_namespace text, p_keys text[]) returns void
language plpgsql
as $$
declare
  v_key text;
begin
  for v_key in
    select k from (select distinct unnest(p_keys) as k) as x where k is not null order by key_lock(p_namespace, k)
  loop
    perform pg_advisory_xact_lock(key_lock(p_namespace, v_key));
    perform unpark(array(
      select id from job
      where namespace = p_namespace and concurrency_key = v_key and parked
      order by priority desc, run_at, id
      limit 1
      for no key update skip locked
    ));
  end loop;
end
$$;

-- Lets parked jobs compete again.
create or replace function unpark(p_jobs uuid[]) returns void
language plpgsql
as $$
begin
  if cardinality(p_jobs) > 0 then
    update job set parked = false where id = any (p_jobs);
    perform put_back(p_jobs);
    perform hint(namespace, 'pending:*') from job where id = p_jobs[1];
  end if;
end
$$;

-- The net under free_keys, for the sweep: a parked job may have been in somebody's hand just when its turn came, or the waiting one whose
-- end would have freed it was cancelled. Steps from key to key through the index, so that no key with many jobs hides another.
-- p_keys_max: looks at so many keys, 8 µs each; null: at all.
create or replace function free_idle_keys(p_namespace text, p_keys_max integer) returns void
language plpgsql
as $$
begin
  perform unpark(array(
    with recursive parked as (
      (select concurrency_key as key, 1 as n from job where namespace = p_namespace and job.parked order by concurrency_key limit 1)
      union all
      select (
        select j.concurrency_key from job j
        where j.namespace = p_namespace and j.parked and j.concurrency_key > parked.key
        order by j.concurrency_key limit 1
      ), n + 1
      from parked
      where parked.key is not null and (p_keys_max is null or n < p_keys_max)
    )
    select j.id
    -- Offset 0, each time: looked up for each, as a plan that was made for an empty table would read all jobs for each.
    from (
      select p.key from parked p
      where p.key is not null
        and not exists (select from job where namespace = p_namespace and concurrency_key = p.key and holds_key offset 0)
      offset 0
    ) as idle
    cross join lateral (
      select id from job
      where namespace = p_namespace and concurrency_key = idle.key and job.parked
      order by priority desc, run_at, id
      limit 1
    ) as n
    cross join lateral (select id from job where id = n.id and job.parked offset 0 for no key update skip locked) as j
    limit 1000
  ));
end
$$;
