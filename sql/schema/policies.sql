-- One row per gateway policy bundle that a run saw in force.
create table policies (
    bundle_sha256 VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    version BIGINT NOT NULL,
    issued TIMESTAMPTZ NOT NULL,
    expires TIMESTAMPTZ NOT NULL,
    key_id VARCHAR NOT NULL,
    summary VARCHAR NOT NULL check (json_valid(summary)),
    primary key (bundle_sha256, run_id)
);
