-- One row per run: score range, grade, coverage, findings and attempts. What was not read stands beside the score.
select *
from int_summary
