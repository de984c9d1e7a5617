-- Zero rows expected: a position in a gateway worker's log belongs to one event.
select gateway_id, worker, boot_id, seq, count(distinct event_id) as events
from stg_gateway_events
group by all
having events > 1
