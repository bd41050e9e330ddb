-- Whether somebody has to sweep a namespace: something is leased, a run ends by itself or is not cleared yet, or an aimed job does not
-- wait for its target for ever.
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
            or (t.jobs > 0 and t.left_over = 0 and (t.filled or t.target is null or t.jobs >= t.target))
        end
    )
    or exists (select from aim where namespace = p_namespace);
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
