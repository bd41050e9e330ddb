-- These attempts are held no more: for each its worker and the claim that gave it. The last lock that a transaction takes, after those
-- of jobs, attempts and keys: two ends of one claim wait for each other here, and neither for anything else.
create or replace function let_go(p_workers uuid[], p_claims integer[]) returns void
language plpgsql
as $$
declare
  c record;
begin
  for c in
    select g.worker, g.claim_number, count(*) as ended
    from unnest(p_workers, p_claims) as g (worker, claim_number)
    group by g.worker, g.claim_number
    order by g.worker, g.claim_number
  loop
    update claimed set remaining = remaining - c.ended where worker = c.worker and claim_number = c.claim_number;
  end loop;
end
$$;
