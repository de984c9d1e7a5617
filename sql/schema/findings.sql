-- One row per (finding, run in which it was evaluated). Current = highest seq.
create table findings (
    finding_id VARCHAR NOT NULL,
    seq INTEGER NOT NULL check (seq >= 1),
    run_id VARCHAR NOT NULL,
    asset_id VARCHAR NOT NULL,
    finding_kind VARCHAR NOT NULL check (regexp_matches(finding_kind, '^(check|probe)\.')),
    rule_id VARCHAR NOT NULL,
    title VARCHAR NOT NULL,
    severity VARCHAR NOT NULL check (severity in ('critical', 'high', 'medium', 'low', 'info')),
    state VARCHAR NOT NULL check (state in ('open', 'triaged', 'in_review', 'confirmed', 'accepted', 'false_positive', 'fixed', 'regressed')),
    locator VARCHAR NOT NULL,
    summary VARCHAR NOT NULL,
    fix VARCHAR NOT NULL,
    hits INTEGER NOT NULL check (hits >= 0),
    trials INTEGER NOT NULL check (trials >= 0),
    evidence_sha256 VARCHAR NOT NULL,
    discovered_at TIMESTAMPTZ NOT NULL,
    evaluated_at TIMESTAMPTZ NOT NULL,
    proof_label VARCHAR NOT NULL check (proof_label in ('real_component', 'official_shape_fake', 'declared')),
    primary key (finding_id, seq)
);
