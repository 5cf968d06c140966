-- Tokens that connections are exchanged for, and consents that are under way.

-- One row per connection. `generation` counts its tokens; whoever asks for the next one holds the claim until `claimed_until`.
create table connection_tokens (
    connection_id text primary key references connections (id),
    org_id text not null references organizations (id),
    version integer not null,
    generation integer not null,
    sealed_access text,
    sealed_refresh text,
    scopes text not null,
    expires_at integer,
    refresh_at integer,
    claim_id text,
    claimed_until integer,
    updated_at integer not null
) strict;

-- One row per connection at most: a later consent replaces the one before. `id` is the digest of the state.
create table connection_authorizations (
    id text primary key,
    org_id text not null references organizations (id),
    connection_id text not null references connections (id),
    version integer not null,
    sealed_verifier text not null,
    redirect_uri text not null,
    browser text,
    created_by text not null,
    created_at integer not null,
    expires_at integer not null
) strict;
create unique index connection_authorizations_connection on connection_authorizations (connection_id);

insert into sqlite_stat1 (tbl, idx, stat) values
    ('connection_tokens', 'sqlite_autoindex_connection_tokens_1', '100000 1'),
    ('connection_authorizations', 'sqlite_autoindex_connection_authorizations_1', '1000 1'),
    ('connection_authorizations', 'connection_authorizations_connection', '1000 1');
analyze sqlite_schema;
