-- Stores new jobs and returns their ids in the order of the arrays. All or none.
--
-- p_options: one JSON object for all, or one for each: queue, priority, delayMs, at, maxAttempts, maxLost, onWorkerLost,
-- key (the same key in a namespace is the same job: its id is returned and nothing is stored), timeoutMs,
-- progressDeadlineMs. Ids are UUIDv7: milliseconds, then a 24-bit sequence so that jobs of one batch keep their order,
-- then 48 random bits.
create or replace function enqueue(
  p_namespace text,
  p_types text[],
  p_inputs text[],
  p_options text[] default null,
  p_hint boolean default true
) returns uuid[]
language plpgsql security definer set search_path from current set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
  v_now timestamptz := clock();
  v_prefix text := lpad(to_hex((extract(epoch from v_now) * 1000)::bigint), 12, '0') || '7';
  v_each boolean := cardinality(p_options) > 1;
  v_ids uuid[];
  v_own uuid[];
  v_text text;
  v_keyed boolean := false;
  v_queues text[] := '{}';
begin
  perform guard();
  if cardinality(p_types) <> cardinality(p_inputs)
    or (v_each and cardinality(p_options) <> cardinality(p_types)) then
    raise exception using errcode = 'LH003', message = 'p_types, p_inputs and p_options differ in length';
  end if;
  -- Loops over the arrays, not queries: for one job a query would cost more than the job's own rows.
  foreach v_text in array p_inputs loop
    if octet_length(v_text) > input_bytes_max() then
      raise exception using errcode = 'LH004', message = format('an input is larger than %s bytes', input_bytes_max());
    end if;
  end loop;
  foreach v_text in array coalesce(p_options, '{}') loop
    v_keyed := v_keyed or v_text::jsonb ? 'key';
    v_queues := v_queues || coalesce(v_text::jsonb ->> 'queue', 'default');
  end loop;
  if cardinality(v_queues) = 0 then
    v_queues := '{default}';
  end if;

  select array_agg((v_prefix || left(s.digits, 3) || '8' || right(s.digits, 3) || right(gen_random_uuid()::text, 12))::uuid order by s.n)
  into v_own
  from (
    select n, lpad(to_hex(nextval('job_sequence')), 6, '0') as digits
    from generate_series(1, cardinality(p_types)) as n
  ) as s;
  v_ids := v_own;

  if v_keyed then
    insert into job_key (namespace, key, job_id)
    select p_namespace, o.key, o.id
    from (
      select n, v_own[n] as id, (case when v_each then p_options[n] else p_options[1] end)::jsonb ->> 'key' as key
      from generate_series(1, cardinality(p_types)) as n
    ) as o
    where o.key is not null
    order by o.key, o.n
    on conflict do nothing;

    select array_agg(coalesce(k.job_id, v_own[n]) order by n)
    into v_ids
    from generate_series(1, cardinality(p_types)) as n
    left join job_key k
      on k.namespace = p_namespace
      and k.key = (case when v_each then p_options[n] else p_options[1] end)::jsonb ->> 'key';
  end if;

  with wanted as materialized (
    select w.n, w.id, w.type, w.input::jsonb as input,
           coalesce(case when v_each then p_options[w.n] else p_options[1] end, '{}')::jsonb as options
    from unnest(v_own, p_types, p_inputs) with ordinality as w (id, type, input, n)
    where w.id = v_ids[w.n]
  ),
  detailed as (
    insert into job_detail (job_id, input, options, created_at)
    select id, input,
           options - '{queue,priority,delayMs,at,maxAttempts,maxLost,onWorkerLost}'::text[],
           v_now
    from wanted
  )
  insert into job (id, namespace, queue, type, priority, run_at, max_attempts, max_lost, on_worker_lost)
  select id, p_namespace,
         coalesce(options ->> 'queue', 'default'),
         type,
         coalesce((options ->> 'priority')::smallint, 0),
         greatest(v_now, coalesce((options ->> 'at')::timestamptz, v_now + milliseconds(coalesce((options ->> 'delayMs')::double precision, 0)))),
         coalesce((options ->> 'maxAttempts')::smallint, 3),
         coalesce((options ->> 'maxLost')::smallint, 3),
         coalesce((options ->> 'onWorkerLost')::worker_lost_policy, 'retry')
  from wanted
  order by n;

  if p_hint then
    -- The same hint twice in a transaction is sent once.
    foreach v_text in array v_queues loop
      perform hint(p_namespace, 'pending:' || v_text);
    end loop;
  end if;
  return coalesce(v_ids, '{}');
end
$$;
