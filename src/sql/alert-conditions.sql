-- What is wrong in a namespace now, by its rules: one row for each rule and subject. Messages and data name no age, so that what
-- merely goes on does not change.
--
-- Bounded: the namespace's last 1,000 ends within a day, its live workers, the first waiting job of each of its lanes, and the jobs
-- that open alerts of poison name.
create or replace function alert_conditions(p_namespace text)
returns table (rule text, subject text, message text, data jsonb)
language plpgsql stable
as $$
#variable_conflict use_column
declare
  v_now timestamptz := clock();
begin
  -- What happened to workers, counted.
  return query
    select x.rule, x.subject,
           case x.rule
             when 'worker_lost' then format('%s of machine %s %s lost within %s, the last one %s: %s',
               workers_counted(x.n), x.machine_id, was_or_were(x.n), words_of_ms(x.within_ms), x.ids[1], x.whys[1])
             when 'crash_loop' then format('%s of version %s on machine %s crashed within %s, the last one %s: %s',
               workers_counted(x.n), x.version, x.machine_id, words_of_ms(x.within_ms), x.ids[1],
               x.whys[1])
             else format('%s of machine %s %s killed, or ended by force, while shutting down, the last one %s',
               workers_counted(x.n), x.machine_id, was_or_were(x.n), x.ids[1])
           end,
           jsonb_build_object('machineId', x.machine_id, 'version', x.version, 'count', x.n, 'workerIds', to_jsonb(x.ids[1:20]),
             'reason', x.whys[1])
    from (
      select s.rule, s.within_ms, s.at_least, e.machine_id, max(e.version) filter (where s.rule = 'crash_loop') as version,
             case when s.rule = 'crash_loop' then e.machine_id || ' ' || e.version else e.machine_id end as subject,
             count(*) as n, array_agg(e.id order by e.ended_at desc) as ids, array_agg(e.why order by e.ended_at desc) as whys
      from alert_settings(p_namespace) s
      join (
        select w.machine_id, d.version, d.id, d.ended_at, coalesce(d.end_reason ->> 'message', 'unknown') as why,
               crashed(w, d) as crashed,
               w.end_layer >= 1 and w.draining_at is null and not d.end_reason ? 'heardAgainAt' as lost,
               (w.end_layer >= 1 and w.draining_at is not null and not d.end_reason ? 'heardAgainAt')
                 or coalesce(d.end_reason #>> '{shutdown,outcome}' = 'timed_out', false) as cut
        from (
          select incarnation from worker_detail
          where namespace = p_namespace and ended_at > v_now - interval '1 day'
          order by ended_at desc
          limit 1000
        ) as lately
        join worker w using (incarnation)
        join worker_detail d using (incarnation)
      ) as e on e.ended_at > v_now - milliseconds(s.within_ms)
        and case s.rule when 'worker_lost' then e.lost when 'crash_loop' then e.crashed when 'shutdown_timed_out' then e.cut end
      where s.enabled and s.at_least is not null
      group by s.rule, s.within_ms, s.at_least, e.machine_id, subject
    ) as x
    where x.n >= x.at_least;

  -- What workers say of themselves.
  return query
    select s.rule, t.id, format('outcomes wait on worker %s, as the database does not take them', t.id),
           jsonb_build_object('machineId', t.machine_id, 'workerIds', jsonb_build_array(t.id), 'spoolDepth', t.spool_depth)
    from alert_settings(p_namespace) s
    join worker_truth t on t.namespace = p_namespace and t.status <> 'offline' and t.spool_age_ms > s.for_ms
    where s.rule = 'spool_age' and s.enabled;
  return query
    select s.rule, t.machine_id,
           format('%s of machine %s can''t LISTEN: a pooler stands between, and work is found by polling',
             workers_counted(count(*)), t.machine_id),
           jsonb_build_object('machineId', t.machine_id, 'count', count(*), 'workerIds', to_jsonb((array_agg(t.id order by t.id))[1:20]))
    from alert_settings(p_namespace) s
    join worker_truth t on t.namespace = p_namespace and t.status <> 'offline' and t.listens and t.backend_pid is null
      and t.registered_at < v_now - milliseconds(s.for_ms)
    where s.rule = 'listen_degraded' and s.enabled
    group by s.rule, t.machine_id;

  -- Over when the machine has been restarted (register).
  return query
    select s.rule, m.id,
           format('workers of machine %s do not watch each other''s processes any more, as one that was found gone was heard again: a lost one is noticed by its supervisor, its connection or its lease', m.id),
           jsonb_build_object('machineId', m.id, 'since', iso(m.witness_contradicted_at))
    from alert_settings(p_namespace) s
    join machine m on m.namespace = p_namespace and m.witness_contradicted_at is not null
    where s.rule = 'witness_contradicted' and s.enabled;

  -- Jobs that wait. A type that nobody takes is not also told of as old.
  return query
    with first_waiting as materialized (
      select l.queue, l.type, f.id, f.since
      from lanes_waiting(p_namespace) l
      cross join lateral (
        select j.id,
               -- It waits since its time came, or since its last attempt ended.
               greatest(j.run_at, (select a.ended_at from attempt a where a.job_id = j.id and a.attempt = j.attempt)) as since
        from job j
        where j.id = l.job_id
        offset 0
      ) as f
    ),
    taken as materialized (
      select t.queues, t.types from worker_truth t where t.namespace = p_namespace and t.status in ('online', 'late')
    ),
    judged as materialized (
      select distinct on (f.queue, f.type) f.queue, f.type, f.id, f.since,
             exists (select from taken t where f.queue = any (t.queues) and f.type = any (t.types)) as taken
      from first_waiting f
      order by f.queue, f.type, f.since
    )
    select s.rule, j.queue || '/' || j.type,
           format('jobs of type %s wait in queue %s, and no worker takes them', j.type, j.queue),
           jsonb_build_object('queue', j.queue, 'type', j.type, 'jobIds', jsonb_build_array(j.id), 'since', iso(j.since))
    from alert_settings(p_namespace) s
    join judged j on not j.taken and j.since < v_now - milliseconds(s.for_ms)
    where s.rule = 'no_worker_for_type' and s.enabled
      -- A deploy stops the old workers before the new ones are there.
      and not exists (
        select from worker_detail d
        where d.namespace = p_namespace and d.ended_at > v_now - milliseconds(s.for_ms)
          and j.queue = any (d.queues) and j.type = any (d.types)
      )
    union all
    select x.rule, x.queue, format('the first job of queue %s has waited for more than %s', x.queue, words_of_ms(x.for_ms)),
           jsonb_build_object('queue', x.queue, 'type', x.type, 'jobIds', jsonb_build_array(x.id), 'since', iso(x.since))
    from (
      select distinct on (j.queue) s.rule, s.for_ms, j.queue, j.type, j.id, j.since
      from alert_settings(p_namespace) s
      join judged j on j.taken and j.since < v_now - milliseconds(s.for_ms)
      where s.rule = 'oldest_pending' and s.enabled
      order by j.queue, j.since
    ) as x;

  -- Raised where a job becomes poison (raise_poison); over when every job that it names was retried, or is gone.
  return query
    select a.rule, a.subject, a.message, a.data
    from alert a
    where a.namespace = p_namespace and a.rule = 'poison' and a.resolved_at is null
      and exists (select from alert_settings(p_namespace) s where s.rule = 'poison' and s.enabled)
      and exists (
        select from jsonb_array_elements_text(a.data -> 'jobIds') as p (id)
        cross join lateral (select end_reason from job_detail where job_id = p.id::uuid offset 0) as d
        where d.end_reason ->> 'code' = 'poison'
      );
end
$$;

-- Milliseconds as people say them.
create or replace function words_of_ms(p_ms bigint) returns text
language sql immutable
as $$
  select case
    when p_ms % 3600000 = 0 then p_ms / 3600000 || ' h'
    when p_ms % 60000 = 0 then p_ms / 60000 || ' min'
    when p_ms % 1000 = 0 then p_ms / 1000 || ' s'
    else p_ms || ' ms' end
$$;

create or replace function workers_counted(p_count bigint) returns text
language sql immutable
as $$
  select case when p_count = 1 then '1 worker' else p_count || ' workers' end
$$;

create or replace function was_or_were(p_count bigint) returns text
language sql immutable
as $$
  select case when p_count = 1 then 'was' else 'were' end
$$;
