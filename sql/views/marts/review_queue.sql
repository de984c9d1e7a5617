-- One row per attempt that waits for a human label, with what the judges propose.
with assets as (
    select asset_id, name
    from stg_asset_versions
    qualify row_number() over (partition by asset_id order by valid_from desc, recorded_at desc) = 1
),

requests as (
    select *
    from stg_reviews
    qualify row_number() over (partition by attempt_id order by requested_at desc, review_id desc) = 1
),

labelled as (
    select distinct attempt_id
    from stg_reviews
    where label is not null
)

select
    q.review_id,
    q.attempt_id,
    q.proposal,
    q.reason,
    t.pattern,
    t.confidence_ppm,
    t.family_id,
    t.asset_id,
    a.name as asset_name,
    t.excerpt,
    q.requested_at,
    q.run_id,
from requests as q
left join int_adjudicated as t on t.attempt_id = q.attempt_id
left join assets as a on a.asset_id = t.asset_id
where q.attempt_id not in (from labelled) and coalesce(t.decided_by, '') <> 'human'
