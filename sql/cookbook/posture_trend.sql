-- Question: How did score, coverage and findings develop? Breaks in coverage explain jumps in the score.
-- Tables: trend
-- Example:
--   flow | run_id | as_of | score_best | score_worst | coverage_ppm | critical | high | medium | low
--   nightly | 20260103T020000Z-cccc | 2026-01-03 02:10:00+00:00 | 81 | 73 | 666666 | 2 | 1 | 1 | 0
--   nightly | 20260101T020000Z-aaaa | 2026-01-01 02:10:00+00:00 | 82 | 71 | 833333 | 1 | 2 | 0 | 0
select flow, run_id, as_of, score_best, score_worst, coverage_ppm, critical, high, medium, low
from trend
order by flow, position desc
