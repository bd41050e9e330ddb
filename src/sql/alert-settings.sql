-- The rules of alerts with their thresholds in a namespace: the defaults, and what alert_rule says otherwise.
--
-- Two kinds. What happens (a loss, a crash) is counted: at least so many within so long; it is over when they are fewer. What is (a
-- job that waits) has lasted for so long; it is over when it is no more. Poison is over when nobody's attention is owed any more.
create or replace function alert_settings(p_namespace text)
returns table (rule text, enabled boolean, at_least integer, within_ms bigint, for_ms bigint, says text, changed boolean)
language sql stable
as $$
  select v.rule, coalesce(r.enabled, true), coalesce(r.at_least, v.at_least), coalesce(r.within_ms, v.within_ms),
         coalesce(r.for_ms, v.for_ms), v.says, r.rule is not null
  from (values
    (1, 'worker_lost', 1, 600000, null::bigint, 'workers of a machine were lost'),
    (2, 'crash_loop', 3, 600000, null, 'workers of one version crash on a machine, again and again'),
    (3, 'poison', null, null, null, 'a job has lost so many workers that it has failed as poison, and nobody has retried it'),
    (4, 'no_worker_for_type', null, null, 60000, 'jobs wait, and no worker takes their type from their queue'),
    -- A quarter of an hour is long beside a deploy and short beside a night.
    (5, 'oldest_pending', null, null, 900000, 'the first job of a queue has waited for so long, and workers are there'),
    (6, 'shutdown_timed_out', 1, 3600000, null, 'workers of a machine were killed, or ended by force, while they shut down'),
    (7, 'spool_age', null, null, 300000, 'an outcome has waited on its worker for so long, as the database does not take it'),
    (8, 'listen_degraded', null, null, 60000, 'workers of a machine can''t LISTEN, though they mean to: a pooler stands between'),
    (9, 'witness_contradicted', null, null, null, 'a worker that another one on its machine had found gone was heard again, so they no longer watch each other')
  ) as v (n, rule, at_least, within_ms, for_ms, says)
  left join alert_rule r on r.namespace = p_namespace and r.rule = v.rule
  order by v.n
$$;

-- The same as JSON.
create or replace function alert_rules(p_namespace text) returns jsonb
language sql stable security definer set search_path from current
as $$
  select jsonb_agg(jsonb_build_object(
    'rule', s.rule, 'enabled', s.enabled, 'atLeast', s.at_least, 'withinMs', s.within_ms, 'forMs', s.for_ms, 'says', s.says,
    'changed', s.changed))
  from alert_settings(p_namespace) s
$$;
