-- One row per (asset, check waived in the inventory): what is accepted, until when, why and by whom.
with newest as (
    select asset_id, props
    from stg_asset_versions
    qualify row_number() over (partition by asset_id order by valid_from desc, recorded_at desc) = 1
),

declared as (
    select asset_id, unnest(cast(json_extract(props, '$.waivers') as JSON[])) as waiver
    from newest
    where json_type(props, '$.waivers') = 'ARRAY'
)

select
    asset_id,
    waiver ->> '$.check' as rule_id,
    try_cast(waiver ->> '$.until' as DATE) as until,
    waiver ->> '$.reason' as reason,
    waiver ->> '$.by' as accepted_by,
from declared
where waiver ->> '$.check' is not null
qualify row_number() over (partition by asset_id, rule_id order by until desc nulls last, reason) = 1
