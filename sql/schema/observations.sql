-- One row per (source, thing seen, run): what a source said, with the asset it was resolved to.
create table observations (
    observation_id VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    asset_id VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    source_version VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    natural_keys VARCHAR NOT NULL check (json_valid(natural_keys)),
    props VARCHAR NOT NULL check (json_valid(props)),
    evidence VARCHAR NOT NULL,
    confidence INTEGER NOT NULL check (confidence between 0 and 100),
    completeness VARCHAR NOT NULL check (completeness in ('full', 'partial', 'denied', 'error')),
    observed_at TIMESTAMPTZ NOT NULL,
    proof_label VARCHAR NOT NULL check (proof_label in ('real_component', 'official_shape_fake', 'declared')),
    dt DATE NOT NULL,
    primary key (observation_id)
);
