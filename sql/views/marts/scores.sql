-- One row per (run, scored asset): 0 (worst) to 100. `score_best` takes unread checks as passed, `score_worst` as failed.
select
    s.run_id,
    s.asset_id,
    a.name as asset_name,
    a.kind as asset_kind,
    s.score_best,
    s.score_worst,
    s.own_best,
    s.own_worst,
    s.score_best_without_accepted,
    s.weakest_asset_id,
    s.reaches,
    s.pass,
    s.fail,
    s.unknown,
    s.not_applicable,
    s.probe_findings,
    s.critical_failures,
    s.coverage_ppm,
from int_scores_reached as s
left join int_asof_assets as a on a.run_id = s.run_id and a.asset_id = s.asset_id
