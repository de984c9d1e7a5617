-- Question: How far do the judges agree, pair by pair, in the newest run that was judged?
-- Tables: judge_agreement
-- Example:
--   judge_a | judge_b | live | both_decided | agreed | agreement_ppm | ac1_ppm | kappa_ppm
--   j1-rule | j3-similarity | False | 2 | 1 | 500000 | 200000 | 0
--   j2-lexical | j3-similarity | False | 2 | 1 | 500000 | 200000 | 0
--   j1-rule | j2-lexical | False | 4 | 3 | 750000 | 529412 | 500000
select judge_a, judge_b, live, both_decided, agreed, agreement_ppm, ac1_ppm, kappa_ppm
from judge_agreement
where run_id = (select max(run_id) from judge_agreement)
order by agreement_ppm, judge_a, judge_b
