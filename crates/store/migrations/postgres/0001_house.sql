-- The house: tenants, agents, runs, the one ordered log, the queue and the outbox.
-- The same tables as SQLite's. Times are microseconds UTC, ids and JSON are text, truth values 0 or 1. Every text is compared
-- byte by byte (collate "C"), whatever the database's own locale: order and ranges are the same on both engines.
-- Forward only: a later file changes, this one never.

create table meta (
    key text collate "C" primary key,
    value text collate "C" not null
);

-- A row that belongs to an application, end user or agent names it together with the tenant, so that the schema itself
-- refuses a reference into another tenant.

-- Tenants --------------------------------------------------------------------------------------------------------

create table organizations (
    id text collate "C" primary key,
    name text collate "C" not null,
    max_concurrent_runs bigint,
    created_at bigint not null
);

create table applications (
    id text collate "C" primary key,
    org_id text collate "C" not null references organizations (id),
    name text collate "C" not null,
    created_at bigint not null
);
create unique index applications_tenant on applications (org_id, id);
create unique index applications_name on applications (org_id, name);

create table end_users (
    id text collate "C" primary key,
    org_id text collate "C" not null references organizations (id),
    application_id text collate "C" not null,
    external_id text collate "C" not null,
    name text collate "C",
    created_at bigint not null,
    foreign key (org_id, application_id) references applications (org_id, id)
);
create unique index end_users_tenant on end_users (org_id, id);
create unique index end_users_external on end_users (application_id, external_id);
create index end_users_page on end_users (org_id, created_at, id);

create table api_keys (
    id text collate "C" primary key,
    org_id text collate "C" not null references organizations (id),
    application_id text collate "C",
    name text collate "C" not null,
    prefix text collate "C" not null,
    hash bytea not null,
    scopes text collate "C" not null,
    rate_limited bigint not null,
    created_at bigint not null,
    expires_at bigint,
    revoked_at bigint,
    last_used_at bigint,
    foreign key (org_id, application_id) references applications (org_id, id)
);
create unique index api_keys_hash on api_keys (hash);
create index api_keys_page on api_keys (org_id, created_at, id);

-- Agents ---------------------------------------------------------------------------------------------------------

-- An inline agent (sent with a run) has no version; the same one sent again is the same row.
create table agents (
    id text collate "C" primary key,
    org_id text collate "C" not null references organizations (id),
    application_id text collate "C",
    name text collate "C" not null,
    version bigint,
    digest text collate "C" not null,
    manifest text collate "C" not null,
    agent_md text collate "C" not null,
    created_at bigint not null,
    foreign key (org_id, application_id) references applications (org_id, id)
);
create unique index agents_tenant on agents (org_id, id);
create unique index agents_version on agents (org_id, name, version) where version is not null;
create unique index agents_inline on agents (org_id, name, digest) where version is null;

create table agent_files (
    agent_id text collate "C" not null references agents (id) on delete cascade,
    path text collate "C" not null,
    mode bigint not null,
    bytes bytea not null,
    primary key (agent_id, path)
);

create table agent_tags (
    org_id text collate "C" not null references organizations (id),
    name text collate "C" not null,
    tag text collate "C" not null,
    version bigint not null,
    primary key (org_id, name, tag)
);

-- Files ----------------------------------------------------------------------------------------------------------

create table files (
    id text collate "C" primary key,
    org_id text collate "C" not null references organizations (id),
    application_id text collate "C",
    name text collate "C" not null,
    content_type text collate "C" not null,
    bytes bigint not null,
    sha256 text collate "C" not null,
    storage_path text collate "C" not null,
    created_at bigint not null,
    foreign key (org_id, application_id) references applications (org_id, id)
);
create unique index files_tenant on files (org_id, id);
create index files_page on files (org_id, created_at, id);

-- Runs -----------------------------------------------------------------------------------------------------------

create table runs (
    id text collate "C" primary key,
    org_id text collate "C" not null references organizations (id),
    application_id text collate "C",
    end_user_id text collate "C",
    agent_id text collate "C" not null,
    agent_name text collate "C" not null,
    agent_version bigint,
    status text collate "C" not null,
    input text collate "C" not null,
    output text collate "C",
    error text collate "C",
    model text collate "C" not null,
    sandbox text collate "C" not null,
    limits text collate "C" not null,
    metadata text collate "C" not null,
    connections text collate "C" not null,
    webhook text collate "C",
    usage text collate "C" not null,
    cost_micros bigint not null,
    pricing text collate "C" not null,
    last_seq bigint not null,
    created_at bigint not null,
    started_at bigint,
    finished_at bigint,
    cancel_requested_at bigint,
    lease_owner text collate "C",
    lease_epoch bigint not null,
    lease_expires_at bigint,
    recoveries bigint not null,
    foreign key (org_id, application_id) references applications (org_id, id),
    foreign key (org_id, end_user_id) references end_users (org_id, id),
    foreign key (org_id, agent_id) references agents (org_id, id)
);
create index runs_page on runs (org_id, created_at, id);
create index runs_agent on runs (org_id, agent_name, created_at, id);
create index runs_status on runs (org_id, status, created_at, id);
create index runs_application on runs (org_id, application_id, created_at, id) where application_id is not null;
create index runs_end_user on runs (org_id, end_user_id, created_at, id) where end_user_id is not null;
create index runs_lease on runs (lease_expires_at) where lease_expires_at is not null;

create table run_metadata (
    org_id text collate "C" not null,
    key text collate "C" not null,
    value text collate "C" not null,
    created_at bigint not null,
    run_id text collate "C" not null references runs (id) on delete cascade,
    primary key (org_id, key, value, created_at, run_id)
);
create index run_metadata_run on run_metadata (run_id);

create table run_queue (
    run_id text collate "C" primary key references runs (id) on delete cascade,
    org_id text collate "C" not null,
    available_at bigint not null
);
create index run_queue_due on run_queue (org_id, available_at, run_id);

create table run_files (
    run_id text collate "C" not null references runs (id) on delete cascade,
    role text collate "C" not null,
    path text collate "C" not null,
    file_id text collate "C" not null references files (id),
    primary key (run_id, role, path)
);
create index run_files_file on run_files (file_id);

-- The one ordered log --------------------------------------------------------------------------------------------

-- A stream is a run or an organization. The payload lies apart, so that it can go while header and digest stay.
create table events (
    stream text collate "C" not null,
    seq bigint not null,
    org_id text collate "C" not null,
    type text collate "C" not null,
    actor text collate "C" not null,
    on_behalf_of text collate "C",
    at bigint not null,
    schema_version bigint not null,
    digest text collate "C" not null,
    primary key (stream, seq)
);

create table event_payloads (
    stream text collate "C" not null,
    seq bigint not null,
    data text collate "C" not null,
    primary key (stream, seq)
);

-- The head of an organization's own stream; a run's head is runs.last_seq.
create table org_streams (
    org_id text collate "C" primary key references organizations (id),
    last_seq bigint not null
);

-- Webhooks and their outbox --------------------------------------------------------------------------------------

create table webhooks (
    id text collate "C" primary key,
    org_id text collate "C" not null references organizations (id),
    application_id text collate "C",
    url text collate "C" not null,
    events text collate "C" not null,
    description text collate "C",
    sealed_secret text collate "C" not null,
    disabled_at bigint,
    created_at bigint not null,
    foreign key (org_id, application_id) references applications (org_id, id)
);
create index webhooks_page on webhooks (org_id, created_at, id);

create table deliveries (
    id text collate "C" primary key,
    org_id text collate "C" not null references organizations (id),
    webhook_id text collate "C",
    run_id text collate "C" not null,
    seq bigint not null,
    event_id text collate "C" not null,
    event_type text collate "C" not null,
    url text collate "C" not null,
    sealed_secret text collate "C",
    body text collate "C" not null,
    attempt bigint not null,
    status text collate "C" not null,
    next_attempt_at bigint not null,
    last_status bigint,
    last_error text collate "C",
    lease_owner text collate "C",
    lease_until bigint,
    created_at bigint not null,
    delivered_at bigint
);
create index deliveries_due on deliveries (next_attempt_at, id) where status = 'pending';
create index deliveries_page on deliveries (org_id, webhook_id, created_at, id);
create index deliveries_run on deliveries (run_id);

-- Idempotency, providers, keys of the vault ----------------------------------------------------------------------

create table idempotency (
    org_id text collate "C" not null,
    scope text collate "C" not null,
    key text collate "C" not null,
    fingerprint text collate "C" not null,
    status bigint,
    headers text collate "C",
    body bytea,
    created_at bigint not null,
    expires_at bigint not null,
    primary key (org_id, scope, key)
);
create index idempotency_expiry on idempotency (expires_at);

create table model_providers (
    id text collate "C" primary key,
    org_id text collate "C" not null references organizations (id),
    name text collate "C" not null,
    kind text collate "C" not null,
    base_url text collate "C",
    sealed_key text collate "C",
    created_at bigint not null,
    updated_at bigint not null
);
create unique index model_providers_name on model_providers (org_id, name);

create table data_keys (
    org_id text collate "C" not null references organizations (id),
    kid text collate "C" not null,
    wrapped text collate "C" not null,
    created_at bigint not null,
    primary key (org_id, kid)
);

-- Upkeep ---------------------------------------------------------------------------------------------------------

-- Tables whose rows come and go by the thousand while they stay small: cleaned by count, not by share.
alter table run_queue set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
alter table idempotency set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);
alter table deliveries set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);
-- Room on each page for a run's updates.
alter table runs set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
