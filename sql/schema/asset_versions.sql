-- One row per version of an asset: written when its configuration, declaration or presence changed.
create table asset_versions (
    asset_id VARCHAR NOT NULL check (contains(asset_id, ':')),
    run_id VARCHAR NOT NULL,
    valid_from TIMESTAMPTZ NOT NULL,
    kind VARCHAR NOT NULL check (kind in (
        'llm_endpoint', 'tool', 'ai_application', 'vector_database', 'embedding_model', 'fine_tuned_model',
        'self_hosted_model', 'model_provider', 'rag_system', 'data_source', 'prompt_gateway', 'agent',
        'mcp_server', 'cloud_ai_service')),
    name VARCHAR NOT NULL,
    state VARCHAR NOT NULL check (state in ('present', 'absent')),
    config_hash VARCHAR NOT NULL,
    props VARCHAR NOT NULL check (json_valid(props)),
    sources VARCHAR NOT NULL check (json_valid(sources)),
    declared BOOLEAN NOT NULL,
    active BOOLEAN NOT NULL,
    owner VARCHAR,
    env VARCHAR,
    exposure VARCHAR,
    risk_tier VARCHAR,
    proof_label VARCHAR NOT NULL check (proof_label in ('real_component', 'official_shape_fake', 'declared')),
    primary key (asset_id, valid_from)
);
