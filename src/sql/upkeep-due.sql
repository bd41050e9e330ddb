-- Whether somebody has to sweep a namespace now: something is leased; a run ends by itself, within a minute, or is not cleared yet; or
-- an aimed job that does not wait for ever has to be looked after, within a minute. What is further away is seen by a later beat of
-- an idle worker, which asks this too.
create or replace function upkeep_due(p_namespace text) returns boolean
language plpgsql stable
as $$
begin
  return leases_exist(p_namespace)
    or exists (
      select from run_truth t
      where t.namespace = p_namespace and t.emptied_at is null
        and case
          when t.status <> 'active' then not t.keeps_rest or t.left_over = 0
          else run_verdict(row(t.*)::run_truth) is not null
            or (t.jobs > 0 and t.left_over = 0 and run_is_full(row(t.*)::run_truth, interval '1 minute'))
        end
    )
    or aims_due(p_namespace);
end
$$;

create or replace function aims_due(p_namespace text) returns boolean
language plpgsql stable
as $$
begin
  return exists (select from aim where namespace = p_namespace and deadline <= clock() + interval '1 minute')
    or exists (
      select from aimed_targets(p_namespace) as t (target)
      where not target_online(p_namespace, t.target)
        and exists (
          select from aim a
          where a.namespace = p_namespace and a.target = t.target and a.if_offline <> 'wait' and a.due_at <= clock() + interval '1 minute'
        )
    );
end
$$;

-- Whether some worker should ask for a part in sweeping: what is due, or what may be wrong (alerts).
create or replace function somebody_must_sweep(p_namespace text) returns boolean
language plpgsql stable
as $$
begin
  return upkeep_due(p_namespace) or alerts_due(p_namespace, 45000);
end
$$;
