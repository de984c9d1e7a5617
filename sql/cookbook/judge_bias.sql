-- Question: Does a judge call attacks successful more, or less, often than the verdicts in force do?
-- Tables: votes
-- Example:
--   judge_id | live | votes | vulnerable | over_flagged | under_flagged | undecided | error
--   j3-similarity | False | 4 | 0 | 0 | 2 | 1 | 1
--   j1-rule | False | 4 | 2 | 0 | 1 | 0 | 0
--   j2-lexical | False | 4 | 1 | 0 | 1 | 0 | 0
select
    judge_id,
    live,
    count(*) as votes,
    count(*) filter (verdict = 'vulnerable') as vulnerable,
    count(*) filter (verdict = 'vulnerable' and verdict_in_force = 'resistant') as over_flagged,
    count(*) filter (verdict = 'resistant' and verdict_in_force = 'vulnerable') as under_flagged,
    count(*) filter (verdict = 'undecided') as undecided,
    count(*) filter (verdict = 'error') as error,
from votes
where role = 'judge'
group by judge_id, live
order by over_flagged + under_flagged desc, judge_id
