-- One row per distinct definition of a tool of an MCP server; hash = SHA-256 of the raw canonical definition.
create table tool_versions (
    asset_id VARCHAR NOT NULL,
    tool_name VARCHAR NOT NULL,
    hash VARCHAR NOT NULL check (length(hash) = 64),
    run_id VARCHAR NOT NULL,
    definition VARCHAR NOT NULL check (json_valid(definition)),
    valid_from TIMESTAMPTZ NOT NULL,
    primary key (asset_id, tool_name, hash)
);
