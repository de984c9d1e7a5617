-- What the votes say was sent and what the run's egress manifest says differ. Runs that were cut off have no manifest.
with sent as (
    select run_id, provider, egress_host as host, model, sum(egress_requests) as requests, sum(egress_bytes) as bytes
    from stg_judge_votes
    where egress_host is not null
    group by all
)

select run_id, provider, host, model
from sent full join judge_egress as told using (run_id, provider, host, model)
where
    run_id in (select run_id from judge_egress)
    and (sent.requests is distinct from told.requests or sent.bytes is distinct from told.bytes)
