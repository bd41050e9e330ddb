-- The lowest claim of this worker, whose row the caller has locked, of which anything is held; null when it holds nothing. The rows of
-- claims that are over go. One that ends between the two statements counts as held once more, so none is left behind.
create or replace function open_claim(p_worker worker) returns integer
language plpgsql
as $$
begin
  if not p_worker.holds then
    return null;
  end if;
  delete from claimed where worker = p_worker.incarnation and claim_number >= p_worker.low_claim and remaining = 0;
  return (
    select claim_number from claimed where worker = p_worker.incarnation and claim_number >= p_worker.low_claim order by claim_number limit 1
  );
end
$$;
