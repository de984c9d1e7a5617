-- One row per rejected row and reason; holds no body.
create table quarantined_rows (
    run_id VARCHAR NOT NULL,
    table_name VARCHAR NOT NULL,
    batch VARCHAR NOT NULL,
    row_key VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    body_sha256 VARCHAR NOT NULL,
    quarantined_at TIMESTAMPTZ NOT NULL,
    primary key (table_name, batch, row_key, reason)
);
