-- One row per (run, judge, window): how the judge did on known answers among its work.
-- state `quarantined` stands until a person releases the judge; a later window that goes well changes nothing.
select
    run_id,
    table_name as judge_id,
    position as window_number,
    json_extract_string(detail, '$.judge_version') as judge_version,
    json_extract_string(detail, '$.state') as state,
    json_extract_string(detail, '$.alarm') as alarm,
    cast(json_extract_string(detail, '$.gold') as INTEGER) as gold,
    cast(json_extract_string(detail, '$.right') as INTEGER) as correct,
    cast(json_extract_string(detail, '$.threshold') as INTEGER) as alarm_at,
    cast(json_extract_string(detail, '$.abstained') as INTEGER) as abstained,
    cast(json_extract_string(detail, '$.errors') as INTEGER) as errors,
    cast(json_extract_string(detail, '$.pairs') as INTEGER) as pairs,
    cast(json_extract_string(detail, '$.flips') as INTEGER) as flips,
    cast(json_extract_string(detail, '$.youden_ppm') as INTEGER) as youden_ppm,
    json_extract_string(detail, '$.by') as released_by,
    json_extract_string(detail, '$.reason') as release_reason,
    made_at,
from stg_evidence
where kind = 'judge_health'
