-- Ends workers from outside: fenced first, then their jobs go back as interrupted, not charged. A living one is told at once and
-- stops. Returns what became of the jobs, and which workers were ended by this: not those that had ended or are unknown.
create or replace function evict_workers(p_namespace text, p_workers uuid[], p_reason jsonb default '{}') returns json
language plpgsql security definer set search_path from current
as $$
declare
  v_ended uuid[];
begin
  perform guard();
  v_ended := end_workers(p_namespace, p_workers, 'interrupted', null,
    jsonb_build_object('code', 'evicted', 'message', 'an operator evicted it') || p_reason);
  return json_build_object('evicted', v_ended, 'released', taken_back(p_namespace, v_ended));
end
$$;
