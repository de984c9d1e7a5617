-- Zero rows expected: every finding has, per framework, a control or a stated reason for none. NIST AI 600-1 and
-- SP 800-218A count as one framework; relation `none` is a stated reason.
with frameworks (framework) as (
    values ('owasp-llm'), ('owasp-asi'), ('nist'), ('mitre-atlas'), ('eu-ai-act'), ('iso-42001')
),

stamped as (
    select
        finding_id,
        case when framework in ('nist-ai-600-1', 'nist-sp800-218a') then 'nist' else framework end as framework,
    from int_finding_stamps
)

select f.finding_id, w.framework as missing
from (select distinct finding_id from stg_findings) as f
cross join frameworks as w
anti join stamped as s on s.finding_id = f.finding_id and s.framework = w.framework
