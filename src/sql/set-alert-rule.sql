-- Changes a rule's thresholds in a namespace; what is not said stays. p_settings: enabled, atLeast, withinMs, forMs, or default: true
-- for all of the defaults. Open alerts that the rule no longer finds are resolved by the next sweep. Answers the rule as it is now.
create or replace function set_alert_rule(p_namespace text, p_rule text, p_settings jsonb) returns jsonb
language plpgsql security definer set search_path from current
as $$
declare
  s record;
  v_key text;
  v_value numeric;
  v_max integer;
begin
  perform guard();
  select * into s from alert_settings(p_namespace) a where a.rule = p_rule;
  if not found then
    raise exception using errcode = 'LH003',
      message = format('there is no rule %s: the rules are %s', p_rule,
        (select string_agg(a.rule, ', ') from alert_settings(p_namespace) a));
  end if;
  foreach v_key in array '{atLeast,withinMs,forMs}'::text[] loop
    continue when p_settings ->> v_key is null;
    if (v_key = 'atLeast' and s.at_least is null) or (v_key = 'withinMs' and s.within_ms is null) or (v_key = 'forMs' and s.for_ms is null) then
      raise exception using errcode = 'LH003', message = format('the rule %s has no %s', p_rule, v_key);
    end if;
    v_value := (p_settings ->> v_key)::numeric;
    -- Ends of workers are looked for as far back as a day.
    v_max := case v_key when 'atLeast' then 1000 else 86400000 end;
    if v_value <> trunc(v_value) or v_value not between 1 and v_max then
      raise exception using errcode = 'LH003',
        message = format('%s of the rule %s is a whole number from 1 to %s, got %s', v_key, p_rule, v_max, p_settings ->> v_key);
    end if;
  end loop;
  if (p_settings ->> 'default')::boolean then
    delete from alert_rule where namespace = p_namespace and rule = p_rule;
  else
    insert into alert_rule as r (namespace, rule, enabled, at_least, within_ms, for_ms)
    values (p_namespace, p_rule, (p_settings ->> 'enabled')::boolean, (p_settings ->> 'atLeast')::integer,
            (p_settings ->> 'withinMs')::bigint, (p_settings ->> 'forMs')::bigint)
    on conflict (namespace, rule) do update
    set enabled = coalesce(excluded.enabled, r.enabled), at_least = coalesce(excluded.at_least, r.at_least),
        within_ms = coalesce(excluded.within_ms, r.within_ms), for_ms = coalesce(excluded.for_ms, r.for_ms);
  end if;
  return (select a from jsonb_array_elements(alert_rules(p_namespace)) as a where a ->> 'rule' = p_rule);
end
$$;
