-- One row per (MCP server, tool): its newest definition and how often that changed.
with assets as (
    select asset_id, name
    from stg_asset_versions
    qualify row_number() over (partition by asset_id order by valid_from desc, recorded_at desc) = 1
),

ranked as (
    select
        *,
        count(*) over (partition by asset_id, tool_name) as definitions,
        min(valid_from) over (partition by asset_id, tool_name) as first_seen,
        lead(hash) over (partition by asset_id, tool_name order by valid_from desc, hash desc) as previous_hash,
        row_number() over (partition by asset_id, tool_name order by valid_from desc, hash desc) as place,
    from stg_tool_versions
)

select
    t.asset_id,
    a.name as asset_name,
    t.tool_name,
    t.definition ->> '$.description' as description,
    t.hash,
    t.previous_hash,
    t.definitions,
    t.first_seen,
    t.valid_from as changed_at,
    t.run_id,
    t.definition,
from ranked as t
left join assets as a on a.asset_id = t.asset_id
where t.place = 1
