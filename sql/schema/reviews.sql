-- One row per request for, or decision of, a human review.
create table reviews (
    review_id VARCHAR NOT NULL,
    attempt_id VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    proposal VARCHAR NOT NULL check (proposal in ('vulnerable', 'resistant', 'undecided')),
    reason VARCHAR NOT NULL,
    requested_at TIMESTAMPTZ NOT NULL,
    reviewer VARCHAR,
    label VARCHAR check (label in ('vulnerable', 'resistant')),
    labelled_at TIMESTAMPTZ,
    primary key (review_id)
);
