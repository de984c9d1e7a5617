-- Zero rows expected: every answered request carries a decision, and every decision but `allow` a reason.
select event_id, run_id, decision, reason_code
from stg_gateway_events
where event_kind = 'exchange' and (decision is null or (decision <> 'allow' and reason_code is null))
