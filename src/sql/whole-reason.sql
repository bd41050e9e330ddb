-- A reason with all its fields, null where one is unknown, and whatever else was kept with it.
create or replace function whole_reason(p_reason jsonb) returns jsonb
language sql immutable
as $$
  select '{"code": null, "message": null, "noticedBy": null, "layer": null, "detectedAfterMs": null, "exitCode": null, "signal": null}'
    || p_reason
$$;
