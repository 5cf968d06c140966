-- Connections: credentials the broker can use, sealed by the vault.

-- Of the organization, of one of its applications, or of one end user. A revoked one keeps its row and loses its value.
create table connections (
    id text collate "C" primary key,
    org_id text collate "C" not null references organizations (id),
    application_id text collate "C",
    end_user_id text collate "C",
    name text collate "C" not null,
    connector text collate "C" not null,
    auth text collate "C" not null,
    settings text collate "C" not null,
    sealed_value text collate "C",
    version bigint not null,
    status text collate "C" not null,
    created_by text collate "C" not null,
    created_at bigint not null,
    updated_at bigint not null,
    last_used_at bigint,
    tested_at bigint,
    test_outcome text collate "C",
    test_reason text collate "C",
    foreign key (org_id, application_id) references applications (org_id, id),
    foreign key (org_id, end_user_id) references end_users (org_id, id)
);
create index connections_page on connections (org_id, created_at, id);
-- A name is used once on each level.
create unique index connections_name
    on connections (org_id, name, coalesce(application_id, ''), coalesce(end_user_id, ''))
    where status <> 'revoked';
-- What a run's slot may be filled with.
create index connections_usable on connections (org_id, connector, id) where status <> 'revoked';
