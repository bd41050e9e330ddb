-- What became of a try. p_error null: it was answered with 2xx. Else it is due again after 5 s, then 15 s and so on, threefold, at most an
-- hour; and given up a day after it was made. Answers: delivered | again | given_up | stale (somebody else has it, or it is gone).
create or replace function settle_delivery(p_delivery uuid, p_token uuid, p_status integer, p_error text default null) returns text
language plpgsql security definer set search_path from current
as $$
declare
  d webhook_delivery;
begin
  perform guard();
  update webhook_delivery
  set delivered_at = case when p_error is null then clock() end,
      given_up_at = case when p_error is not null and (created_at < clock() - interval '1 day' or kind = 'alert.test') then clock() end,
      due_at = clock() + milliseconds(least(5000 * 3 ^ least(tries - 1, 10), 3600000)),
      last_status = p_status,
      last_error = left(p_error, 500),
      token = null
  where id = p_delivery and token = p_token and delivered_at is null
  returning * into d;
  return case when d.id is null then 'stale' when d.delivered_at is not null then 'delivered' when d.given_up_at is not null then 'given_up'
              else 'again' end;
end
$$;
