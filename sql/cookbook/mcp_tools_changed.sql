-- Question: Which MCP tools changed their definition after they were first seen?
-- Tables: tools
-- Example:
--   asset_name | tool_name | definitions | first_seen | changed_at | description
--   File server | read_file | 2 | 2026-01-01 02:00:00+00:00 | 2026-01-03 02:00:00+00:00 | Read any file
select asset_name, tool_name, definitions, first_seen, changed_at, description
from tools
where definitions > 1
order by changed_at desc, asset_name, tool_name
