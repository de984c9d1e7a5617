-- Question: Cutting which relationship would separate most applications from active critical or high findings?
-- Tables: edges, findings, assets
-- Example:
--   edge | paths | findings
--   Customer portal uses Payments clerk | 1 | 1
with recursive paths as (
    select asset_id as root, asset_id as node, 0 as hops, [asset_id] as visited, cast([] as VARCHAR[]) as passed
    from assets
    where state = 'present' and kind = 'ai_application'

    union all

    select
        p.root,
        e.dst_id as node,
        p.hops + 1 as hops,
        list_append(p.visited, e.dst_id) as visited,
        list_append(p.passed, coalesce(e.src_name, e.src_id) || ' ' || e.rel || ' ' || coalesce(e.dst_name, e.dst_id))
            as passed,
    from paths as p
    join edges as e on e.src_id = p.node and e.is_current
    where p.hops < 6 and not list_contains(p.visited, e.dst_id)
),

hits as (
    select p.root, f.finding_id, unnest(p.passed) as edge
    from paths as p
    join findings as f on f.asset_id = p.node and f.is_active and f.severity in ('critical', 'high')
)

select edge, count(distinct (root, finding_id)) as paths, count(distinct finding_id) as findings
from hits
group by edge
order by paths desc, edge
