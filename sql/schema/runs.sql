-- One row per state a run went through. Current state = highest seq.
create table runs (
    run_id VARCHAR NOT NULL,
    seq INTEGER NOT NULL,
    flow VARCHAR NOT NULL,
    campaign_id VARCHAR NOT NULL,
    state VARCHAR NOT NULL check (state in ('started', 'resumed', 'complete', 'incomplete', 'failed', 'abandoned')),
    entered_at TIMESTAMPTZ NOT NULL,
    code_version VARCHAR NOT NULL,
    params_sha256 VARCHAR NOT NULL,
    demo BOOLEAN NOT NULL,
    judges_label VARCHAR NOT NULL,
    detail VARCHAR NOT NULL check (json_valid(detail)),
    primary key (run_id, seq)
);
