-- One row per (run, edge): the edges recorded by the newest run, up to this one, that recorded any.
with seen as (
    select e.src_id, e.dst_id, e.rel, e.run_id as seen_run_id, e.source, e.valid_from, s.started_at as seen_at
    from stg_edges as e
    join int_asof as s on s.run_id = e.run_id
)

select r.run_id, seen.*
from int_asof as r
join seen on seen.seen_at <= r.reads_until
qualify dense_rank() over (partition by r.run_id order by seen.seen_at desc, seen.seen_run_id desc) = 1
