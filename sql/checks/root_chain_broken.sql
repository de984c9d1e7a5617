-- Zero rows expected: the signed roots form one chain, numbered without a gap, each naming the root before it.
with chain as (
    select
        run_id,
        position,
        coalesce(detail ->> '$.prev', '') as prev,
        coalesce(lag(sha256) over (order by position), '') as expected,
        row_number() over (order by position) as place,
    from stg_evidence
    where kind = 'root'
)

select *
from chain
where prev <> expected or position <> place
