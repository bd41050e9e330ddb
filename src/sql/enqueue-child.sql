-- Stores jobs on behalf of a running attempt, fenced by its token: null, and nothing stored, when the attempt has lost its lease.
create or replace function enqueue_child(
  p_job uuid,
  p_token uuid,
  p_types text[],
  p_inputs text[],
  p_options text[] default null
) returns uuid[]
language plpgsql security definer set search_path from current
as $$
begin
  perform guard();
  if not exists (select from fenced(array[p_job], array[p_token], 'enqueue') where attempt is not null) then
    return null;
  end if;
  return enqueue((select namespace from job_detail where job_id = p_job), p_types, p_inputs, p_options);
end
$$;
