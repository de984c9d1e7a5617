-- Question: Which mending counts toward most frameworks? Active findings by the controls they touch.
-- Tables: findings, finding_controls
-- Example:
--   severity | title | frameworks | controls | grades
--   critical | check.MCP-01 on mcp_server:files | 5 | 5 | project
--   critical | probe.tool_misuse on agent:clerk | 5 | 5 | project
--   high | probe.direct_override on llm_endpoint:support | 5 | 5 | project
--   … 1 more
select
    f.severity,
    f.title,
    count(distinct c.framework) as frameworks,
    count(distinct c.control_key) as controls,
    string_agg(distinct c.grade, ', ' order by c.grade) as grades,
from findings as f
join finding_controls as c on c.finding_id = f.finding_id and c.relation <> 'none'
where f.is_active
group by f.finding_id, f.severity, f.title
order by frameworks desc, controls desc, f.severity, f.title
