-- One row per (run, assessable control of the six frameworks, each edition apart): its state and why.
-- tested_failing: an open finding of a mapped kind, whatever the coverage or the proof label.
-- tested_clean: no hit, no finding in review, at most 10 % of the results unknown and 5 % undecided, and at least 90 % of
--   the assets in scope sufficiently tested against a real component: 59 distinct templates where probes apply (0 hits in
--   59 bound the rate at 5 % with 95 % confidence: 1 - 0.05^(1/59)), else a passed check. A control that probes map to is
--   never clean by checks alone. In scope = assets with an applicable result, and every present asset of their kinds.
-- insufficient: some result is decided, but not that much. not_tested: none is; unknown and undecided decide nothing.
-- not_applicable: every result says so. not_yet_applicable: nothing decided, and the law applies after the run's date.
-- A control that no finding kind maps to is not_tested, not not_applicable: it applies, nobody looked. A finding counts
-- for the controls it is mapped to, never for those below them. Mapping and catalogues are the newest loaded ones.
with editions as (
    select *
    from stg_controls
    where assessable
    qualify row_number() over (partition by control_key order by recorded_at desc, catalog_sha256) = 1
),

newest_mapping as (
    select finding_kind, control_key, relation
    from stg_kind_controls
    qualify recorded_at is not distinct from max(recorded_at) over (partition by finding_kind)
),

mapping as (
    select distinct finding_kind, control_key
    from newest_mapping
    where relation <> 'none'
),

mapped as (
    select control_key, bool_or(starts_with(finding_kind, 'probe.')) as needs_probes
    from mapping
    group by control_key
),

counted_findings as (
    select
        f.run_id,
        m.control_key,
        count(distinct f.finding_id) filter (
            f.state in ('open', 'triaged', 'confirmed', 'accepted', 'regressed')
        ) as failing,
        count(distinct f.finding_id) filter (f.state = 'in_review') as in_review,
    from int_asof_findings as f
    join mapping as m on m.finding_kind = f.finding_kind
    group by f.run_id, m.control_key
),

present_kinds as (
    select run_id, kind, count(*) as assets
    from int_asof_assets
    where state = 'present'
    group by run_id, kind
),

by_asset as (
    select
        e.run_id,
        m.control_key,
        e.asset_id,
        count(*) filter (e.outcome = 'hit') as hits,
        count(*) filter (e.outcome in ('hit', 'clean')) as decided,
        count(*) filter (e.outcome in ('unknown', 'undecided')) as unknown,
        count(*) filter (e.outcome = 'undecided') as undecided,
        count(*) filter (e.outcome <> 'not_applicable') as applicable,
        count(*) filter (e.method = 'check' and e.outcome = 'clean' and e.is_real) as real_passes,
        count(*) filter (e.outcome in ('hit', 'clean') and e.is_real) as real_decided,
        count(distinct case when e.method = 'probe' and e.outcome = 'clean' and e.is_real then e.test end) as templates,
        count(*) filter (e.method = 'probe' and e.outcome <> 'not_applicable') as probes,
    from int_kind_evidence as e
    join mapping as m on m.finding_kind = e.finding_kind
    group by e.run_id, m.control_key, e.asset_id
),

with_kind as (
    select
        b.*,
        coalesce(a.kind, 'unknown') as kind,
        coalesce(a.state = 'present', false) as present,
        max(b.probes) over (partition by b.run_id, b.control_key, coalesce(a.kind, 'unknown')) > 0 as kind_is_probed,
    from by_asset as b
    left join int_asof_assets as a on a.run_id = b.run_id and a.asset_id = b.asset_id
),

by_kind as (
    select
        w.run_id,
        w.control_key,
        w.kind,
        sum(w.hits) as hits,
        sum(w.decided) as decided,
        sum(w.unknown) as unknown,
        sum(w.undecided) as undecided,
        sum(w.applicable) as applicable,
        sum(w.real_decided) as real_decided,
        sum(w.probes) as probes,
        sum(w.real_passes) as passes,
        sum(w.templates) as templates,
        min(w.templates) filter (w.kind_is_probed and w.applicable > 0) as fewest_templates,
        count(*) filter (w.applicable > 0) as seen,
        count(*) filter (case when w.kind_is_probed then w.templates >= 59 else w.real_passes >= 1 end) as sufficient,
        case
            when sum(w.applicable) > 0
                then greatest(coalesce(any_value(p.assets), 0) - count(*) filter (w.present), 0)
            else 0
        end as unseen,
    from with_kind as w
    left join present_kinds as p on p.run_id = w.run_id and p.kind = w.kind
    group by w.run_id, w.control_key, w.kind
),

by_control as (
    select
        run_id,
        control_key,
        cast(sum(hits) as BIGINT) as hits,
        cast(sum(decided) as BIGINT) as decided,
        cast(sum(unknown) as BIGINT) as unknown,
        cast(sum(undecided) as BIGINT) as undecided,
        cast(sum(applicable) as BIGINT) as applicable,
        cast(sum(real_decided) as BIGINT) as real_decided,
        cast(sum(probes) as BIGINT) as probes,
        cast(sum(passes) as BIGINT) as passes,
        cast(sum(templates) as BIGINT) as templates,
        min(fewest_templates) as fewest_templates,
        cast(sum(seen + unseen) as BIGINT) as in_scope,
        cast(sum(sufficient) as BIGINT) as sufficient,
    from by_kind
    group by run_id, control_key
),

joined as (
    select
        r.run_id,
        cast(r.as_of as DATE) as run_date,
        c.control_key,
        c.framework,
        c.version,
        c.control_id,
        c.title,
        c.applies_from,
        m.control_key is not null as is_mapped,
        coalesce(m.needs_probes, false) as needs_probes,
        coalesce(f.failing, 0) as failing,
        coalesce(f.in_review, 0) as in_review,
        e.control_key is not null as has_results,
        coalesce(e.hits, 0) as hits,
        coalesce(e.decided, 0) as decided,
        coalesce(e.unknown, 0) as unknown,
        coalesce(e.undecided, 0) as undecided,
        coalesce(e.applicable, 0) as applicable,
        coalesce(e.real_decided, 0) as real_decided,
        coalesce(e.probes, 0) as probes,
        coalesce(e.passes, 0) as passes,
        coalesce(e.templates, 0) as templates,
        coalesce(e.fewest_templates, 0) as fewest_templates,
        coalesce(e.in_scope, 0) as in_scope,
        coalesce(e.sufficient, 0) as sufficient,
    from int_asof as r
    cross join editions as c
    left join mapped as m on m.control_key = c.control_key
    left join counted_findings as f on f.run_id = r.run_id and f.control_key = c.control_key
    left join by_control as e on e.run_id = r.run_id and e.control_key = c.control_key
),

-- The first rule that is not met, in words; null when all are.
judged as (
    select
        *,
        case
            when in_review > 0 then in_review || ' in review'
            when hits > 0 then hits || ' hits without an open finding'
            when real_decided = 0 then 'no result against a real component'
            when needs_probes and probes = 0 then 'checks only, no probe result'
            when unknown * 10 > applicable then unknown || ' of ' || applicable || ' results unknown'
            when undecided * 20 > probes then undecided || ' of ' || probes || ' templates undecided'
            when probes > 0 and fewest_templates < 59 and sufficient * 10 < in_scope * 9
                then fewest_templates || ' of 59 templates'
            when sufficient * 10 < in_scope * 9 then sufficient || ' of ' || in_scope || ' assets tested'
        end as missing,
    from joined
),

decided_states as (
    select
        *,
        case
            when failing > 0 then 'tested_failing'
            when has_results and applicable = 0 then 'not_applicable'
            when decided = 0 and applies_from > run_date then 'not_yet_applicable'
            when decided = 0 then 'not_tested'
            when missing is null then 'tested_clean'
            else 'insufficient'
        end as state,
    from judged
)

select
    run_id,
    control_key,
    framework,
    version,
    control_id,
    title,
    state,
    failing as findings,
    decided as evidence,
    case state
        when 'tested_failing' then failing || ' open findings'
        when 'not_applicable' then 'no asset it applies to'
        when 'not_yet_applicable' then 'applies from ' || applies_from
        when 'not_tested' then case
            when not is_mapped then 'no check or probe covers it'
            when has_results then 'none of ' || applicable || ' results decided'
            else 'no result in this run'
        end
        when 'tested_clean' then case
            when templates > 0 then '0 hits in ' || templates || ' templates'
            else passes || ' checks passed'
        end
        else missing
    end as reason,
    applies_from,
from decided_states
