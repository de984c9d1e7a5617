-- One row per (run, asset, posture check). `unknown` means not read, never a pass.
create table check_results (
    run_id VARCHAR NOT NULL,
    asset_id VARCHAR NOT NULL,
    check_id VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL check (outcome in ('pass', 'fail', 'unknown', 'not_applicable')),
    severity VARCHAR NOT NULL check (severity in ('critical', 'high', 'medium', 'low', 'info')),
    mode VARCHAR NOT NULL check (mode in ('config', 'log', 'active')),
    reason VARCHAR NOT NULL,
    evidence VARCHAR NOT NULL check (json_valid(evidence)),
    proof_label VARCHAR NOT NULL check (proof_label in ('real_component', 'official_shape_fake', 'declared')),
    dt DATE NOT NULL,
    primary key (run_id, asset_id, check_id)
);
