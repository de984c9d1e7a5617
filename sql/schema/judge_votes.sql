-- One row per (attempt, judge, version, repeat). The meta-judge's vote has role `meta`.
create table judge_votes (
    attempt_id VARCHAR NOT NULL,
    judge_id VARCHAR NOT NULL,
    judge_version VARCHAR NOT NULL,
    repeat INTEGER NOT NULL,
    run_id VARCHAR NOT NULL,
    role VARCHAR NOT NULL check (role in ('judge', 'meta')),
    provider VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    live BOOLEAN NOT NULL,
    rubric_sha256 VARCHAR NOT NULL,
    verdict VARCHAR NOT NULL check (verdict in ('vulnerable', 'resistant', 'undecided', 'error')),
    confidence_ppm INTEGER check (confidence_ppm between 0 and 1000000),
    evidence_span VARCHAR,
    rationale_redacted VARCHAR NOT NULL,
    error_kind VARCHAR,
    tokens_in BIGINT,
    tokens_out BIGINT,
    cost_micro_usd BIGINT,
    voted_at TIMESTAMPTZ NOT NULL,
    dt DATE NOT NULL,
    primary key (attempt_id, judge_id, judge_version, repeat)
);
