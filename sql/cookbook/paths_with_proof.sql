-- Question: From which applications does a path of recorded edges lead to an active critical or high finding?
-- Tables: edges, findings, assets
-- Example:
--   path | hops | severity | title | hits | trials | proof_label
--   Customer portal → Payments clerk | 1 | critical | probe.tool_misuse on agent:clerk | 1 | 1 | real_component
with recursive paths as (
    select asset_id as root, name as root_name, asset_id as node, name as path, 0 as hops, [asset_id] as visited
    from assets
    where state = 'present' and kind = 'ai_application'

    union all

    select
        p.root,
        p.root_name,
        e.dst_id as node,
        p.path || ' → ' || coalesce(e.dst_name, e.dst_id) as path,
        p.hops + 1 as hops,
        list_append(p.visited, e.dst_id) as visited,
    from paths as p
    join edges as e on e.src_id = p.node and e.is_current
    where p.hops < 6 and not list_contains(p.visited, e.dst_id)
)

select p.path, p.hops, f.severity, f.title, f.hits, f.trials, f.proof_label
from paths as p
join findings as f on f.asset_id = p.node and f.is_active and f.severity in ('critical', 'high')
order by list_position(['critical', 'high'], f.severity), p.path, f.finding_id
