-- One row per (run, table checked): expectations held against the data before the seal, and how many failed.
select
    run_id,
    table_name,
    position,
    coalesce(detail ->> '$.state', case detail ->> '$.success' when 'true' then 'passed' else 'failed' end) as state,
    coalesce(try_cast(detail ->> '$.expectations' as BIGINT), json_array_length(detail, '$.expectations'), 0)
        as expectations,
    coalesce(try_cast(detail ->> '$.failed' as BIGINT), json_array_length(detail, '$.failed'), 0) as failed,
    made_at as checked_at,
    detail,
from stg_evidence
where kind = 'quality'
