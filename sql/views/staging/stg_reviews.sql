-- One row per request for, or decision of, a human review.
select
    review_id,
    attempt_id,
    run_id,
    proposal,
    reason,
    requested_at,
    reviewer,
    label,
    labelled_at,
    recorded_at,
    batch_key,
    row_sha256,
from lake.reviews
