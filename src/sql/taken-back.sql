-- Takes back what these workers hold (take_back), and says what became of each job: [{job, status, code}].
create or replace function taken_back(p_namespace text, p_workers uuid[], p_limit integer default null) returns json
language plpgsql
as $$
begin
  return (
    select coalesce(json_agg(json_strip_nulls(json_build_object('job', t.job_id, 'status', t.job_status, 'code', t.end_code))), '[]')
    from take_back(p_namespace, p_workers, p_limit) as t
  );
end
$$;
