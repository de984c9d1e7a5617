-- Question: Which attempts wait for a human, and what do the judges propose?
-- Tables: review_queue
-- Example:
--   review_id | family_id | asset_name | proposal | pattern | confidence_ppm | requested_at
--   v1 | direct_override | Support assistant | vulnerable | VRU | 400000 | 2026-01-03 02:06:00+00:00
select review_id, family_id, asset_name, proposal, pattern, confidence_ppm, requested_at
from review_queue
order by requested_at, review_id
