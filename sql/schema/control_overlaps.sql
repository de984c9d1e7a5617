-- One row per reviewed overlap of two controls of different frameworks.
create table control_overlaps (
    overlap_id VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    catalogs_sha256 VARCHAR NOT NULL,
    theme VARCHAR NOT NULL,
    a_key VARCHAR NOT NULL,
    b_key VARCHAR NOT NULL,
    kinds VARCHAR NOT NULL check (json_valid(kinds)),
    grade VARCHAR NOT NULL check (grade in ('official', 'third_party', 'derived', 'project')),
    via VARCHAR NOT NULL check (via in ('exact', 'rollup', 'succession', 'none')),
    sources VARCHAR NOT NULL check (json_valid(sources)),
    primary key (overlap_id, catalogs_sha256)
);
