-- Registers who is told of alerts, and answers the secret that its deliveries are signed with: this once, and never again. The secret
-- is made here, so that it is in no statement that a server may log. The same address again gets a new secret and new rules.
create or replace function add_webhook(p_namespace text, p_url text, p_rules text[] default null, p_allow_private boolean default false)
returns jsonb
language plpgsql security definer set search_path from current
as $$
declare
  h webhook;
  v_unknown text;
begin
  perform guard();
  select r into v_unknown
  from unnest(p_rules) as r
  where r not in (select s.rule from alert_settings(p_namespace) s)
  limit 1;
  if v_unknown is not null or p_rules = '{}' then
    raise exception using errcode = 'LH003',
      message = format('there is no rule %s: the rules are %s', coalesce(v_unknown, '""'),
        (select string_agg(s.rule, ', ') from alert_settings(p_namespace) s));
  end if;
  if p_url !~ '^https?://' or length(p_url) > 2000 then
    raise exception using errcode = 'LH003', message = 'a webhook is an http or https URL of at most 2000 characters';
  end if;
  insert into webhook as w (namespace, url, secret, rules, allow_private, created_at)
  values (p_namespace, p_url,
          'whsec_' || encode(sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')), 'base64'),
          p_rules, p_allow_private, clock())
  on conflict (namespace, url) do update
  set secret = excluded.secret, rules = excluded.rules, allow_private = excluded.allow_private
  returning * into h;
  return webhook_document(h) || jsonb_build_object('secret', h.secret);
end
$$;
