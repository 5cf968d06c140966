-- Connections: credentials the broker can use, sealed by the vault.

-- Of the organization, of one of its applications, or of one end user. A revoked one keeps its row and loses its value.
create table connections (
    id text primary key,
    org_id text not null references organizations (id),
    application_id text,
    end_user_id text,
    name text not null,
    connector text not null,
    auth text not null,
    settings text not null,
    sealed_value text,
    version integer not null,
    status text not null,
    created_by text not null,
    created_at integer not null,
    updated_at integer not null,
    last_used_at integer,
    tested_at integer,
    test_outcome text,
    test_reason text,
    foreign key (org_id, application_id) references applications (org_id, id),
    foreign key (org_id, end_user_id) references end_users (org_id, id)
) strict;
create index connections_page on connections (org_id, created_at, id);
-- A name is used once on each level.
create unique index connections_name
    on connections (org_id, name, coalesce(application_id, ''), coalesce(end_user_id, ''))
    where status <> 'revoked';
-- What a run's slot may be filled with.
create index connections_usable on connections (org_id, connector, id) where status <> 'revoked';

insert into sqlite_stat1 (tbl, idx, stat) values
    ('connections', 'sqlite_autoindex_connections_1', '100000 1'),
    ('connections', 'connections_page', '100000 1000 1 1'),
    ('connections', 'connections_name', '100000 1000 20 10 1'),
    ('connections', 'connections_usable', '100000 1000 100 1');
analyze sqlite_schema;
