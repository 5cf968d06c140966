-- Nodes, what one of them does for all, workspace snapshots, and runs that are put off.

-- A node that was not seen for a while is gone; its row is swept later. `life` is the process, `id` outlives it.
create table nodes (
    id text collate "C" primary key,
    name text collate "C" not null,
    life text collate "C" not null,
    roles text collate "C" not null,
    address text collate "C",
    version text collate "C" not null,
    draining bigint not null,
    started_at bigint not null,
    seen_at bigint not null
);
create index nodes_seen on nodes (seen_at);

-- A chore of the whole cluster: whoever moves `due_at` on does it.
create table duties (
    name text collate "C" primary key,
    owner text collate "C" not null,
    due_at bigint not null
);

-- What a workspace held once everything up to event `seq` of its run had happened.
create table workspace_snapshots (
    run_id text collate "C" not null references runs (id) on delete cascade,
    org_id text collate "C" not null,
    seq bigint not null,
    object_key text collate "C" not null,
    bytes bigint not null,
    sha256 text collate "C" not null,
    created_at bigint not null,
    primary key (run_id, seq)
);

-- How often in a row the run could not be set up for a reason that may pass.
alter table runs add column postponements bigint not null default 0;

create index runs_cancel on runs (lease_owner) where cancel_requested_at is not null and lease_expires_at is not null;
