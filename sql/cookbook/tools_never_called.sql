-- Question: Which tools does an MCP server offer that no agent called through the gateway?
-- Tables: tools, gateway_events
-- Example:
--   asset_name | tool_name | description | first_seen
--   File server | list_files | List | 2026-01-01 02:00:00+00:00
select t.asset_name, t.tool_name, t.description, t.first_seen
from tools as t
anti join gateway_events as e on e.tool_id = t.tool_name and e.event_kind = 'tool'
order by t.asset_name, t.tool_name
