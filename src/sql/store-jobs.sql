-- Stores jobs that share their options. Ids are UUIDv7: milliseconds, then the low 24 bits of the job's place, so that jobs of
-- one batch keep their order, then 48 random bits.
create or replace function store_jobs(p_namespace text, p_types text[], p_inputs text[], p_options jsonb, p_hint boolean) returns uuid[]
language plpgsql set plan_cache_mode = force_generic_plan set jit = off
as $$
declare
  v_now timestamptz := clock();
  v_prefix text := lpad(to_hex((extract(epoch from v_now) * 1000)::bigint), 12, '0') || '7';
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
  v_text text;
  v_known text;
  v_known_id uuid;
  v_lane bigint;
  v_one_type boolean := true;
  v_stored uuid[];
begin
  -- A loop, not a query: for one job a query would cost more than the job's own rows.
  foreach v_text in array p_inputs loop
    if octet_length(v_text) > input_bytes_max() then
      raise exception using errcode = 'LH004', message = format('an input is larger than %s bytes', input_bytes_max());
    end if;
  end loop;
  if p_options <> '{}' then
    v_queue := coalesce(p_options ->> 'queue', v_queue);
    v_priority := coalesce((p_options ->> 'priority')::smallint, v_priority);
    v_max_attempts := coalesce((p_options ->> 'maxAttempts')::smallint, v_max_attempts);
    v_max_lost := coalesce((p_options ->> 'maxLost')::smallint, v_max_lost);
    v_policy := coalesce((p_options ->> 'onWorkerLost')::worker_lost_policy, v_policy);
    v_key := p_options ->> 'key';
    v_concurrency_key := p_options ->> 'concurrencyKey';
    v_options := p_options - '{queue,priority,delayMs,at,maxAttempts,maxLost,onWorkerLost}'::text[];
    v_at := greatest(v_now, coalesce((p_options ->> 'at')::timestamptz, v_now + milliseconds(coalesce((p_options ->> 'delayMs')::double precision, 0))));
  end if;
  if v_max_attempts < 1 or v_max_lost < 1 then
    raise exception using errcode = '23514',
      message = format('maxAttempts and maxLost are at least 1, got %s and %s', v_max_attempts, v_max_lost);
  end if;
  v_waits := v_at > v_now or v_max_lost <= 1;
  foreach v_text in array p_types loop
    continue when v_text = v_known;
    v_one_type := v_known is null;
    v_known := v_text;
    v_lane := lane_of(p_namespace, v_queue, v_text, v_priority);
    perform know_lane(v_lane, p_namespace, v_queue, v_text, v_priority);
  end loop;

  -- Before a place is drawn: what a claim knows of places rests on it.
  perform pg_current_xact_id();
  if cardinality(p_types) = 1 then
    v_places := array[nextval('job_place')];
    v_ids := array[job_id_of(v_prefix, v_places[1])];
  else
    select array_agg(p.place order by p.n), array_agg(job_id_of(v_prefix, p.place) order by p.n)
    into v_places, v_ids
    from (select n, nextval('job_place') as place from generate_series(1, cardinality(p_types)) as n) as p;
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

  insert into job_detail (job_id, created_at, run_at, priority, max_attempts, max_lost, on_worker_lost, namespace, queue, type, input, options)
  select v_stored[j.n], v_now, v_at, v_priority, v_max_attempts, v_max_lost, v_policy, p_namespace, v_queue, j.type, j.input::jsonb, v_options
  from unnest(p_types, p_inputs) with ordinality as j (type, input, n)
  where v_stored[j.n] is not null;

  insert into job (id, lane, place, run_at, max_attempts, max_lost, priority, on_worker_lost, namespace, concurrency_key)
  select v_stored[j.n], case when v_one_type then v_lane else lane_of(p_namespace, v_queue, j.type, v_priority) end,
         case when not v_waits then v_places[j.n] end, v_at, v_max_attempts, v_max_lost, v_priority, v_policy, p_namespace,
         v_concurrency_key
  from unnest(p_types) with ordinality as j (type, n)
  where v_stored[j.n] is not null;

  if p_hint then
    -- The same hint twice in a transaction is sent once.
    perform hint(p_namespace, 'pending:' || v_queue);
  end if;
  return v_ids;
end
$$;

-- One expression, so that it is inlined and not planned for each row.
create or replace function job_id_of(p_prefix text, p_place bigint) returns uuid
language sql volatile
as $$
  select (p_prefix || lpad(to_hex((p_place >> 12) & 4095), 3, '0') || '8' || lpad(to_hex(p_place & 4095), 3, '0')
    || right(gen_random_uuid()::text, 12))::uuid
$$;
