-- Tokens that connections are exchanged for, and consents that are under way.

-- One row per connection. `generation` counts its tokens; whoever asks for the next one holds the claim until `claimed_until`.
create table connection_tokens (
    connection_id text collate "C" primary key references connections (id),
    org_id text collate "C" not null references organizations (id),
    version bigint not null,
    generation bigint not null,
    sealed_access text collate "C",
    sealed_refresh text collate "C",
    scopes text collate "C" not null,
    expires_at bigint,
    refresh_at bigint,
    claim_id text collate "C",
    claimed_until bigint,
    updated_at bigint not null
);

-- One row per connection at most: a later consent replaces the one before. `id` is the digest of the state.
create table connection_authorizations (
    id text collate "C" primary key,
    org_id text collate "C" not null references organizations (id),
    connection_id text collate "C" not null references connections (id),
    version bigint not null,
    sealed_verifier text collate "C" not null,
    redirect_uri text collate "C" not null,
    browser text collate "C",
    created_by text collate "C" not null,
    created_at bigint not null,
    expires_at bigint not null
);
create unique index connection_authorizations_connection on connection_authorizations (connection_id);
