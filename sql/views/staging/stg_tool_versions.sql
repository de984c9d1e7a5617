-- One row per distinct definition of a tool of an MCP server; hash = SHA-256 of the raw canonical definition.
select
    asset_id,
    tool_name,
    hash,
    run_id,
    cast(definition as JSON) as definition,
    valid_from,
    recorded_at,
    batch_key,
    row_sha256,
from lake.tool_versions
