-- The house: tenants, agents, runs, the one ordered log, the queue and the outbox.
-- Times are microseconds UTC, ids and JSON are text, truth values 0 or 1. Forward only: a later file changes, this one never.

create table meta (
    key text primary key,
    value text not null
) strict, without rowid;

-- A row that belongs to an application, end user or agent names it together with the tenant, so that the schema itself
-- refuses a reference into another tenant.

-- Tenants --------------------------------------------------------------------------------------------------------

create table organizations (
    id text primary key,
    name text not null,
    max_concurrent_runs integer,
    created_at integer not null
) strict, without rowid;

create table applications (
    id text primary key,
    org_id text not null references organizations (id),
    name text not null,
    created_at integer not null
) strict, without rowid;
create unique index applications_tenant on applications (org_id, id);
create unique index applications_name on applications (org_id, name);

create table end_users (
    id text primary key,
    org_id text not null references organizations (id),
    application_id text not null,
    external_id text not null,
    name text,
    created_at integer not null,
    foreign key (org_id, application_id) references applications (org_id, id)
) strict, without rowid;
create unique index end_users_tenant on end_users (org_id, id);
create unique index end_users_external on end_users (application_id, external_id);
create index end_users_page on end_users (org_id, created_at, id);

create table api_keys (
    id text primary key,
    org_id text not null references organizations (id),
    application_id text,
    name text not null,
    prefix text not null,
    hash blob not null,
    scopes text not null,
    rate_limited integer not null,
    created_at integer not null,
    expires_at integer,
    revoked_at integer,
    last_used_at integer,
    foreign key (org_id, application_id) references applications (org_id, id)
) strict, without rowid;
create unique index api_keys_hash on api_keys (hash);
create index api_keys_page on api_keys (org_id, created_at, id);

-- Agents ---------------------------------------------------------------------------------------------------------

-- An inline agent (sent with a run) has no version; the same one sent again is the same row.
create table agents (
    id text primary key,
    org_id text not null references organizations (id),
    application_id text,
    name text not null,
    version integer,
    digest text not null,
    manifest text not null,
    agent_md text not null,
    created_at integer not null,
    foreign key (org_id, application_id) references applications (org_id, id)
) strict;
create unique index agents_tenant on agents (org_id, id);
create unique index agents_version on agents (org_id, name, version) where version is not null;
create unique index agents_inline on agents (org_id, name, digest) where version is null;

create table agent_files (
    agent_id text not null references agents (id) on delete cascade,
    path text not null,
    mode integer not null,
    bytes blob not null,
    primary key (agent_id, path)
) strict;

create table agent_tags (
    org_id text not null references organizations (id),
    name text not null,
    tag text not null,
    version integer not null,
    primary key (org_id, name, tag)
) strict, without rowid;

-- Files ----------------------------------------------------------------------------------------------------------

create table files (
    id text primary key,
    org_id text not null references organizations (id),
    application_id text,
    name text not null,
    content_type text not null,
    bytes integer not null,
    sha256 text not null,
    storage_path text not null,
    created_at integer not null,
    foreign key (org_id, application_id) references applications (org_id, id)
) strict, without rowid;
create unique index files_tenant on files (org_id, id);
create index files_page on files (org_id, created_at, id);

-- Runs -----------------------------------------------------------------------------------------------------------

create table runs (
    id text primary key,
    org_id text not null references organizations (id),
    application_id text,
    end_user_id text,
    agent_id text not null,
    agent_name text not null,
    agent_version integer,
    status text not null,
    input text not null,
    output text,
    error text,
    model text not null,
    sandbox text not null,
    limits text not null,
    metadata text not null,
    connections text not null,
    webhook text,
    usage text not null,
    cost_micros integer not null,
    pricing text not null,
    last_seq integer not null,
    created_at integer not null,
    started_at integer,
    finished_at integer,
    cancel_requested_at integer,
    lease_owner text,
    lease_epoch integer not null,
    lease_expires_at integer,
    recoveries integer not null,
    foreign key (org_id, application_id) references applications (org_id, id),
    foreign key (org_id, end_user_id) references end_users (org_id, id),
    foreign key (org_id, agent_id) references agents (org_id, id)
) strict;
create index runs_page on runs (org_id, created_at, id);
create index runs_agent on runs (org_id, agent_name, created_at, id);
create index runs_status on runs (org_id, status, created_at, id);
create index runs_application on runs (org_id, application_id, created_at, id) where application_id is not null;
create index runs_end_user on runs (org_id, end_user_id, created_at, id) where end_user_id is not null;
create index runs_lease on runs (lease_expires_at) where lease_expires_at is not null;

create table run_metadata (
    org_id text not null,
    key text not null,
    value text not null,
    created_at integer not null,
    run_id text not null references runs (id) on delete cascade,
    primary key (org_id, key, value, created_at, run_id)
) strict, without rowid;
create index run_metadata_run on run_metadata (run_id);

create table run_queue (
    run_id text primary key references runs (id) on delete cascade,
    org_id text not null,
    available_at integer not null
) strict, without rowid;
create index run_queue_due on run_queue (org_id, available_at, run_id);

create table run_files (
    run_id text not null references runs (id) on delete cascade,
    role text not null,
    path text not null,
    file_id text not null references files (id),
    primary key (run_id, role, path)
) strict, without rowid;
create index run_files_file on run_files (file_id);

-- The one ordered log --------------------------------------------------------------------------------------------

-- A stream is a run or an organization. The payload lies apart, so that it can go while header and digest stay.
create table events (
    stream text not null,
    seq integer not null,
    org_id text not null,
    type text not null,
    actor text not null,
    on_behalf_of text,
    at integer not null,
    schema_version integer not null,
    digest text not null,
    primary key (stream, seq)
) strict, without rowid;

create table event_payloads (
    stream text not null,
    seq integer not null,
    data text not null,
    primary key (stream, seq)
) strict, without rowid;

-- The head of an organization's own stream; a run's head is runs.last_seq.
create table org_streams (
    org_id text primary key references organizations (id),
    last_seq integer not null
) strict, without rowid;

-- Webhooks and their outbox --------------------------------------------------------------------------------------

create table webhooks (
    id text primary key,
    org_id text not null references organizations (id),
    application_id text,
    url text not null,
    events text not null,
    description text,
    sealed_secret text not null,
    disabled_at integer,
    created_at integer not null,
    foreign key (org_id, application_id) references applications (org_id, id)
) strict, without rowid;
create index webhooks_page on webhooks (org_id, created_at, id);

create table deliveries (
    id text primary key,
    org_id text not null references organizations (id),
    webhook_id text,
    run_id text not null,
    seq integer not null,
    event_id text not null,
    event_type text not null,
    url text not null,
    sealed_secret text,
    body text not null,
    attempt integer not null,
    status text not null,
    next_attempt_at integer not null,
    last_status integer,
    last_error text,
    lease_owner text,
    lease_until integer,
    created_at integer not null,
    delivered_at integer
) strict;
create index deliveries_due on deliveries (next_attempt_at, id) where status = 'pending';
create index deliveries_page on deliveries (org_id, webhook_id, created_at, id);
create index deliveries_run on deliveries (run_id);

-- Idempotency, providers, keys of the vault ----------------------------------------------------------------------

create table idempotency (
    org_id text not null,
    scope text not null,
    key text not null,
    fingerprint text not null,
    status integer,
    headers text,
    body blob,
    created_at integer not null,
    expires_at integer not null,
    primary key (org_id, scope, key)
) strict, without rowid;
create index idempotency_expiry on idempotency (expires_at);

create table model_providers (
    id text primary key,
    org_id text not null references organizations (id),
    name text not null,
    kind text not null,
    base_url text,
    sealed_key text,
    created_at integer not null,
    updated_at integer not null
) strict, without rowid;
create unique index model_providers_name on model_providers (org_id, name);

create table data_keys (
    org_id text not null references organizations (id),
    kid text not null,
    wrapped text not null,
    created_at integer not null,
    primary key (org_id, kid)
) strict, without rowid;

-- Plans ----------------------------------------------------------------------------------------------------------

-- The planner's statistics, by hand and for good: a list walks the index made for it on the first day as on a full
-- database. Each line is: rows, then rows that share the first column, the first two, …
analyze;
insert into sqlite_stat1 (tbl, idx, stat) values
    ('runs', 'sqlite_autoindex_runs_1', '1000000 1'),
    ('runs', 'runs_page', '1000000 200000 1 1'),
    ('runs', 'runs_agent', '1000000 200000 20000 1 1'),
    ('runs', 'runs_status', '1000000 200000 40000 1 1'),
    ('runs', 'runs_application', '1000000 200000 50000 1 1'),
    ('runs', 'runs_end_user', '1000000 200000 200 1 1'),
    ('runs', 'runs_lease', '200 1'),
    ('run_queue', 'run_queue', '10000 1'),
    ('run_queue', 'run_queue_due', '10000 1000 1 1'),
    ('deliveries', 'sqlite_autoindex_deliveries_1', '1000000 1'),
    ('deliveries', 'deliveries_due', '1000 1 1'),
    ('deliveries', 'deliveries_page', '1000000 200000 50000 1 1'),
    ('deliveries', 'deliveries_run', '1000000 2');
analyze sqlite_schema;
