-- One row per relationship: between what, who saw it, when first and last, and whether the newest run still saw it.
with assets as (
    select asset_id, kind, name
    from stg_asset_versions
    qualify row_number() over (partition by asset_id order by valid_from desc, recorded_at desc) = 1
),

ranked as (
    select
        e.*,
        coalesce(r.started_at, e.valid_from) as seen_at,
        dense_rank() over (order by coalesce(r.started_at, e.valid_from) desc, e.run_id desc) as age,
    from stg_edges as e
    left join int_asof as r on r.run_id = e.run_id
)

select
    k.src_id,
    s.name as src_name,
    s.kind as src_kind,
    k.rel,
    k.dst_id,
    d.name as dst_name,
    d.kind as dst_kind,
    list(distinct k.source order by k.source) as sources,
    min(k.valid_from) as first_seen,
    max(k.seen_at) as last_seen,
    count(distinct k.run_id) as runs,
    min(k.age) = 1 as is_current,
from ranked as k
left join assets as s on s.asset_id = k.src_id
left join assets as d on d.asset_id = k.dst_id
group by all
