-- One row per (run, source, position): what a discovery source was asked to read and how completely it could.
select
    run_id,
    position,
    coalesce(detail ->> '$.source', table_name) as source,
    coalesce(detail ->> '$.scope', '') as scope,
    coalesce(detail ->> '$.completeness', 'error') as completeness,
    coalesce(detail ->> '$.reason', '') as reason,
    cast(coalesce(
        try_cast(detail ->> '$.observations' as BIGINT), json_array_length(detail, '$.observations'), 0
    ) as BIGINT) as observations,
    made_at as read_at,
from stg_evidence
where kind = 'source'
