-- One row per (attempt, method): a verdict and how it came about. p_ppm is the calibrated probability of `vulnerable`, null
-- when the judge set is uncalibrated; the calibration lies in `evidence`. supersedes = method_version that it overrides.
create table verdicts (
    attempt_id VARCHAR NOT NULL,
    method_version VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    verdict VARCHAR NOT NULL check (verdict in ('vulnerable', 'resistant', 'undecided', 'error', 'not_applicable')),
    decided_by VARCHAR NOT NULL check (decided_by in ('evidence', 'judges', 'human')),
    pattern VARCHAR,
    confidence_ppm INTEGER check (confidence_ppm between 0 and 1000000),
    judges_label VARCHAR NOT NULL check (judges_label in ('live judges', 'offline judges', 'no judges')),
    route VARCHAR NOT NULL check (route in ('automatic', 'review', 'error')),
    reason VARCHAR NOT NULL,
    p_ppm INTEGER check (p_ppm between 0 and 1000000),
    lambda_ppm INTEGER,
    calibration_sha256 VARCHAR,
    meta_not_independent BOOLEAN,
    supersedes VARCHAR,
    decided_at TIMESTAMPTZ NOT NULL,
    dt DATE NOT NULL,
    primary key (attempt_id, method_version)
);
