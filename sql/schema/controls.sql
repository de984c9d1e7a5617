-- One row per control of a catalogue edition.
create table controls (
    control_key VARCHAR NOT NULL check (regexp_matches(control_key, '^[a-z0-9-]+@[^:]+:.+$')),
    catalog_sha256 VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    framework VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    control_id VARCHAR NOT NULL,
    parent_key VARCHAR,
    title VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    url VARCHAR NOT NULL,
    assessable BOOLEAN NOT NULL,
    applies_from DATE,
    applies_from_annex_i DATE,
    primary key (control_key, catalog_sha256)
);
