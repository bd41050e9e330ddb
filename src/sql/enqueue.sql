-- Stores new jobs and returns their ids in the order of the arrays. All or none.
--
-- Jobs stand in their queues in the order of the arrays, those that share their options together; but those with keys behind the others
-- and in the order of their keys, as two calls with the same keys wait for each other at each.
--
-- p_options: one JSON object for all, or one for each: queue, priority, delayMs, at, maxAttempts, maxLost, onWorkerLost,
-- key (the same key in a namespace is the same job: its id is returned and nothing is stored), timeoutMs,
-- progressDeadlineMs, concurrencyKey (at most one job with the same one runs at a time), runId, and target (machine:ID, worker:ID or
-- label:NAME: only such a worker takes it) with ifOffline (wait, the default, fail or any) and waitMs (see sweep_aims).
create or replace function enqueue(
  p_namespace text,
  p_types text[],
  p_inputs text[],
  p_options text[] default null,
  p_hint boolean default true
) returns uuid[]
language plpgsql security definer set search_path from current
as $$
declare
  v_ids uuid[];
  v_group record;
  v_stored uuid[];
begin
  perform guard();
  if cardinality(p_types) <> cardinality(p_inputs)
    or (cardinality(p_options) > 1 and cardinality(p_options) <> cardinality(p_types)) then
    raise exception using errcode = 'LH003', message = 'p_types, p_inputs and p_options differ in length';
  end if;
  if cardinality(p_types) = 0 then
    return '{}';
  elsif coalesce(cardinality(p_options), 0) <= 1 then
    return store_jobs(p_namespace, p_types, p_inputs, coalesce(p_options[1], '{}')::jsonb, p_hint);
  end if;
  v_ids := array_fill(null::uuid, array[cardinality(p_types)]);
  for v_group in
    select o.options, array_agg(o.n::integer order by o.n) as places, array_agg(p_types[o.n] order by o.n) as types,
           array_agg(p_inputs[o.n] order by o.n) as inputs
    from unnest(p_options) with ordinality as o (options, n)
    group by o.options
    order by o.options::jsonb ->> 'key' nulls first, min(o.n)
  loop
    v_stored := store_jobs(p_namespace, v_group.types, v_group.inputs, v_group.options::jsonb, p_hint);
    for i in 1 .. cardinality(v_stored) loop
      v_ids[v_group.places[i]] := v_stored[i];
    end loop;
  end loop;
  return v_ids;
end
$$;
