-- The signature of a delivery, as https://www.standardwebhooks.com has it: HMAC-SHA256 over "id.timestamp.body", in base64. Made here, so
-- that the secret stays in the database; written out, as pgcrypto is not everywhere. The key is the secret after its prefix, decoded.
create or replace function sign_webhook(p_secret text, p_id uuid, p_timestamp bigint, p_body text) returns text
language plpgsql immutable
as $$
declare
  v_key bytea := decode(substr(p_secret, length('whsec_') + 1), 'base64');
  v_inner bytea := decode(repeat('36', 64), 'hex');
  v_outer bytea := decode(repeat('5c', 64), 'hex');
begin
  -- Keys that add_webhook makes are shorter than a block.
  for i in 0 .. length(v_key) - 1 loop
    v_inner := set_byte(v_inner, i, get_byte(v_inner, i) # get_byte(v_key, i));
    v_outer := set_byte(v_outer, i, get_byte(v_outer, i) # get_byte(v_key, i));
  end loop;
  return 'v1,' || encode(
    sha256(v_outer || sha256(v_inner || convert_to(format('%s.%s.%s', p_id, p_timestamp, p_body), 'UTF8'))), 'base64');
end
$$;
