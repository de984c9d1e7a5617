-- One row per (run, set of expectations): what was held against the data before the seal, and how much of it failed.
-- An expectation that could not be evaluated counts as failed.
with parsed as (
    select
        run_id,
        table_name,
        position,
        detail,
        made_at,
        coalesce(detail ->> '$.state', 'error') as state,
        case json_type(detail, '$.results')
            when 'ARRAY' then cast(json_extract(detail, '$.results') as JSON[])
        end as results,
    from stg_evidence
    where kind = 'quality'
)

select
    run_id,
    table_name,
    position,
    state,
    cast(coalesce(
        len(results), try_cast(detail ->> '$.expectations' as BIGINT), json_array_length(detail, '$.expectations'), 1
    ) as BIGINT) as expectations,
    cast(coalesce(
        len(list_filter(results, lambda r: r ->> '$.state' <> 'passed')),
        try_cast(detail ->> '$.failed' as BIGINT),
        json_array_length(detail, '$.failed'),
        case state when 'passed' then 0 else 1 end
    ) as BIGINT) as failed,
    made_at as checked_at,
    detail,
from parsed
