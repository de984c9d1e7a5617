-- Question: Which tools did agents run, in which order, when an attack worked?
-- Tables: attempts
-- Example:
--   asset_name | family_id | tools | attempts
--   Payments clerk | tool_misuse | send_money | 1
select
    asset_name,
    family_id,
    array_to_string(cast(json_extract_string(tool_trace, '$[*].name') as VARCHAR[]), ' → ') as tools,
    count(*) as attempts,
from attempts
where verdict = 'vulnerable' and json_array_length(tool_trace) > 0
group by asset_name, family_id, tools
order by attempts desc, asset_name, family_id, tools
