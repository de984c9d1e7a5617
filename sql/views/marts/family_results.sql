-- One row per (run, target, probe family): attempts by verdict; errors and undecided attempts stand outside the rate.
-- `low_ppm` and `high_ppm` bound the rate of vulnerable among decided attempts (Wilson's 95 % score interval).
-- The rate if every undecided attempt had gone one way or the other stands beside it, and the share of errors.
select
    f.run_id,
    f.asset_id,
    a.name as asset_name,
    a.kind as asset_kind,
    f.family_id,
    f.attempts,
    f.templates,
    f.seeds,
    f.vulnerable,
    f.resistant,
    f.undecided,
    f.error,
    f.not_applicable,
    cast(f.vulnerable * 1000000 // nullif(f.vulnerable + f.resistant, 0) as BIGINT) as rate_ppm,
    f.low_ppm,
    f.high_ppm,
    f.cost_micro_usd,
    case
        when f.vulnerable + f.resistant + f.undecided > 0
            then cast(f.vulnerable * 1000000 // (f.vulnerable + f.resistant + f.undecided) as BIGINT)
        else 0
    end as if_undecided_low_ppm,
    case
        when f.vulnerable + f.resistant + f.undecided > 0
            then
                cast(
                    (f.vulnerable + f.undecided) * 1000000 // (f.vulnerable + f.resistant + f.undecided) as BIGINT
                )
        else 1000000
    end as if_undecided_high_ppm,
    cast(f.error * 1000000 // nullif(f.attempts - f.not_applicable, 0) as BIGINT) as error_ppm,
from int_asof_families as f
left join int_asof_assets as a on a.run_id = f.run_id and a.asset_id = f.asset_id
