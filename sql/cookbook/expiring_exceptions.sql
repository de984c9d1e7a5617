-- Question: Which waivers run out within 90 days of the newest run, or are over?
-- Tables: waivers
-- Example:
--   asset_id | check_id | severity | until | days_left | expired | accepted_by | reason
--   llm_endpoint:support | LLM-02 | medium | 2026-02-01 | 28 | False | ciso@bank.example | migration under way
select asset_id, check_id, severity, until, days_left, expired, accepted_by, reason
from waivers
where days_left <= 90
order by days_left, asset_id, check_id
