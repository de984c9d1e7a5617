-- One row per piece of proof: signed roots, tile and table roots, quality results, source outcomes, plans, the
-- calibration that verdicts rest on, and what each judge's health test found.
create table evidence (
    run_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL check (kind in ('root', 'table_root', 'file', 'quality', 'source', 'plan', 'report', 'gateway_segment', 'calibration', 'judge_health', 'egress')),
    table_name VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    sha256 VARCHAR NOT NULL,
    detail VARCHAR NOT NULL check (json_valid(detail)),
    signature VARCHAR,
    key_id VARCHAR,
    made_at TIMESTAMPTZ NOT NULL,
    primary key (run_id, kind, table_name, position)
);
