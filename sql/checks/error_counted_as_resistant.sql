-- Zero rows expected: an attempt that failed technically is never counted as withstood; only a human may say so.
select attempt_id, run_id, error_kind, evidence_verdict, verdict, decided_by
from int_adjudicated
where verdict = 'resistant' and decided_by <> 'human' and (error_kind is not null or evidence_verdict = 'error')
