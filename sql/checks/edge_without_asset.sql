-- Zero rows expected: both ends of every relationship are assets in the lake.
select e.src_id, e.rel, e.dst_id, e.run_id
from stg_edges as e
where
    e.src_id not in (select asset_id from stg_asset_versions)
    or e.dst_id not in (select asset_id from stg_asset_versions)
