-- One row per (run, scored asset): its own score and the score in force.
-- An application is as weak as the weakest asset it reaches over at most six recorded edges; others keep their own.
with recursive reach as (
    select s.run_id, s.asset_id as root, s.asset_id as node, 0 as depth
    from int_scores as s
    join int_asof_assets as a on a.run_id = s.run_id and a.asset_id = s.asset_id and a.kind = 'ai_application'

    union

    select r.run_id, r.root, e.dst_id as node, r.depth + 1 as depth
    from reach as r
    join int_asof_edges as e on e.run_id = r.run_id and e.src_id = r.node
    where r.depth < 6
),

reached as (
    select
        reach.run_id,
        reach.root as asset_id,
        min(s.score_best) as score_best,
        min(s.score_worst) as score_worst,
        count(distinct reach.node) filter (reach.node <> reach.root) as reaches,
        arg_min(reach.node, (s.score_worst, s.score_best, reach.node)) as weakest_asset_id,
    from reach
    join int_scores as s on s.run_id = reach.run_id and s.asset_id = reach.node
    group by reach.run_id, reach.root
)

select
    s.* exclude (score_best, score_worst),
    s.score_best as own_best,
    s.score_worst as own_worst,
    coalesce(r.score_best, s.score_best) as score_best,
    coalesce(r.score_worst, s.score_worst) as score_worst,
    coalesce(r.weakest_asset_id, s.asset_id) as weakest_asset_id,
    coalesce(r.reaches, 0) as reaches,
from int_scores as s
left join reached as r on r.run_id = s.run_id and r.asset_id = s.asset_id
