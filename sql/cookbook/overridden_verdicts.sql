-- Question: Where did a later method, such as a human reviewer, overrule an earlier verdict?
-- Tables: verdicts
-- Example:
--   attempt_id | family_id | was_decided_by | was | pattern | decided_by | verdict | reason
--   r2-03 | direct_override | judges | resistant | RRR | human | vulnerable | human say vulnerable
select
    f.attempt_id,
    f.family_id,
    o.decided_by as was_decided_by,
    o.verdict as was,
    o.pattern,
    f.decided_by,
    f.verdict,
    f.reason,
from verdicts as f
join verdicts as o on o.attempt_id = f.attempt_id and not o.in_force and o.verdict <> f.verdict
where f.in_force
order by f.attempt_id, o.decided_at
