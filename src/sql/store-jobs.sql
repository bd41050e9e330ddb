-- Stores jobs that share their options. Ids are UUIDv7: milliseconds, then the low 24 bits of the job's place, so that jobs of
-- one batch keep their order, then 48 random bits. Those need not be secret, so the cheap generator makes them: no two jobs of a
-- database share millisecond and place.
create or replace function store_jobs(p_namespace text, p_types text[], p_inputs text[], p_options jsonb, p_hint boolean) returns uuid[]
language plpgsql set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off
as $$
declare
  v_now timestamptz := clock();
  v_head bigint := (extract(epoch from v_now) * 1000)::bigint << 16 | 28672;
  v_bytes integer;
  v_queue text := 'default';
  v_priority smallint := 0;
  v_max_attempts smallint := 3;
  v_max_lost smallint := 3;
  v_policy worker_lost_policy := 'retry';
  v_at timestamptz := v_now;
  v_waits boolean;
  v_options jsonb := p_options;
  v_ids uuid[];
  v_places bigint[];
  v_key text;
  v_concurrency_key text;
  v_known_id uuid;
  v_lane bigint;
  v_one_type boolean := p_types[1] = all (p_types);
  v_stored uuid[];
  v_run uuid;
  v_target text;
begin
  -- For one job without a query, which would cost as much as its own rows.
  if cardinality(p_inputs) = 1 then
    v_bytes := octet_length(p_inputs[1]);
  else
    select max(octet_length(i)) into v_bytes from unnest(p_inputs) as i;
  end if;
  if v_bytes > input_bytes_max() then
    raise exception using errcode = 'LH004', message = format('an input is larger than %s bytes', input_bytes_max());
  end if;
  if p_options <> '{}' then
    v_queue := coalesce(p_options ->> 'queue', v_queue);
    v_priority := coalesce((p_options ->> 'priority')::smallint, v_priority);
    v_max_attempts := coalesce((p_options ->> 'maxAttempts')::smallint, v_max_attempts);
    v_max_lost := coalesce((p_options ->> 'maxLost')::smallint, v_max_lost);
    v_policy := coalesce((p_options ->> 'onWorkerLost')::worker_lost_policy, v_policy);
    v_key := p_options ->> 'key';
    v_concurrency_key := p_options ->> 'concurrencyKey';
    v_run := (p_options ->> 'runId')::uuid;
    v_target := p_options ->> 'target';
    v_options := p_options - '{queue,priority,delayMs,at,maxAttempts,maxLost,onWorkerLost,runId,target}'::text[];
    v_at := greatest(v_now, coalesce((p_options ->> 'at')::timestamptz, v_now + milliseconds(coalesce((p_options ->> 'delayMs')::double precision, 0))));
    if not isfinite(v_at) then
      raise exception using errcode = 'LH003', message = format('at is a time that comes, got %s', p_options ->> 'at');
    end if;
    -- Whoever reads these later, for many jobs at once, must not meet what is no duration.
    if v_options ?| '{timeoutMs,progressDeadlineMs}' then
      v_options := jsonb_strip_nulls(v_options);
      perform check_ms_option(v_options, 'timeoutMs'), check_ms_option(v_options, 'progressDeadlineMs');
    end if;
  end if;
  if v_max_attempts < 1 or v_max_lost < 1 then
    raise exception using errcode = '23514',
      message = format('maxAttempts and maxLost are at least 1, got %s and %s', v_max_attempts, v_max_lost);
  end if;
  if v_run is not null then
    perform join_run(p_namespace, v_run);
  end if;
  if v_target !~ '^(machine|worker|label):.' then
    raise exception using errcode = 'LH003', message = format('%s is no target: machine:ID, worker:ID or label:NAME', v_target);
  end if;
  v_waits := v_at > v_now or v_max_lost <= 1;
  if v_one_type then
    v_lane := lane_of(p_namespace, v_queue, p_types[1], v_priority, v_run, v_target);
    perform know_lane(v_lane, p_namespace, v_queue, p_types[1], v_priority, v_run, v_target);
  else
    perform know_lane(lane_of(p_namespace, v_queue, t.type, v_priority, v_run, v_target), p_namespace, v_queue, t.type, v_priority, v_run, v_target)
    from (select distinct type from unnest(p_types) as type) as t;
  end if;

  if cardinality(p_types) = 1 then
    v_places := array[next_place()];
    v_ids := array[job_id_of(v_head, v_places[1])];
  else
    select array_agg(p.place order by p.n), array_agg(job_id_of(v_head, p.place) order by p.n)
    into v_places, v_ids
    from (select n, next_place() as place from generate_series(1, cardinality(p_types)) as n) as p;
  end if;

  v_stored := v_ids;
  if v_key is not null then
    -- All of these are one job: the first, unless an earlier call stored it. Again when that one is dropped just now.
    loop
      insert into job_key (namespace, key, job_id) values (p_namespace, v_key, v_ids[1]) on conflict do nothing;
      exit when found;
      v_known_id := (select job_id from job_key where namespace = p_namespace and key = v_key);
      if v_known_id is not null then
        return array_fill(v_known_id, array[cardinality(p_types)]);
      end if;
    end loop;
    v_stored := v_ids[1:1];
    v_ids := array_fill(v_ids[1], array[cardinality(p_types)]);
  end if;

  -- One statement: for a single job the start of a second one would cost as much as this does.
  with detail as (
    insert into job_detail (job_id, created_at, run_at, priority, max_attempts, max_lost, on_worker_lost, namespace, queue, type, input, options,
                            run_id, target)
    select v_stored[j.n], v_now, v_at, v_priority, v_max_attempts, v_max_lost, v_policy, p_namespace, v_queue, j.type, j.input::jsonb, v_options,
           v_run, v_target
    from unnest(p_types, p_inputs) with ordinality as j (type, input, n)
    where v_stored[j.n] is not null
  )
  insert into job (id, lane, place, run_at, max_attempts, max_lost, priority, on_worker_lost, namespace, concurrency_key, run_id)
  select v_stored[j.n], case when v_one_type then v_lane else lane_of(p_namespace, v_queue, j.type, v_priority, v_run, v_target) end,
         case when not v_waits then v_places[j.n] end, v_at, v_max_attempts, v_max_lost, v_priority, v_policy, p_namespace,
         v_concurrency_key, v_run
  from unnest(p_types) with ordinality as j (type, n)
  where v_stored[j.n] is not null;

  if v_run is not null then
    insert into run_tally (run_id, jobs, filled_at) values (v_run, cardinality(v_stored), v_now);
  end if;
  if v_target is not null then
    perform take_aim(p_namespace, v_stored);
  end if;
  if p_hint then
    -- The same hint twice in a transaction is sent once.
    perform hint(p_namespace, 'pending:' || v_queue);
  end if;
  return v_ids;
end
$$;

-- Refuses an option that is there and is no duration: more than 0 ms, and no longer than a century.
create or replace function check_ms_option(p_options jsonb, p_name text) returns void
language plpgsql immutable
as $$
begin
  if p_options ? p_name and (
    jsonb_typeof(p_options -> p_name) <> 'number'
    or (p_options ->> p_name)::numeric <= 0 or (p_options ->> p_name)::numeric > 3155760000000
  ) then
    raise exception using errcode = 'LH003',
      message = format('%s is a number of milliseconds above 0, got %s', p_name, p_options -> p_name);
  end if;
end
$$;

-- p_head: milliseconds and the version, in front. One expression, so that it is inlined and not planned for each row.
create or replace function job_id_of(p_head bigint, p_place bigint) returns uuid
language sql volatile
as $$
  select (lpad(to_hex(p_head | (p_place >> 12 & 4095)), 16, '0')
    || to_hex((-9223372036854775808)::bigint | ((p_place & 4095) << 48) | (random() * 281474976710655)::bigint))::uuid
$$;
