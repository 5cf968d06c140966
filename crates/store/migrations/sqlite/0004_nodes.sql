-- Nodes, what one of them does for all, workspace snapshots, and runs that are put off.

-- A node that was not seen for a while is gone; its row is swept later. `life` is the process, `id` outlives it.
create table nodes (
    id text primary key,
    name text not null,
    life text not null,
    roles text not null,
    address text,
    version text not null,
    draining integer not null,
    started_at integer not null,
    seen_at integer not null
) strict, without rowid;
create index nodes_seen on nodes (seen_at);

-- A chore of the whole cluster: whoever moves `due_at` on does it.
create table duties (
    name text primary key,
    owner text not null,
    due_at integer not null
) strict, without rowid;

-- What a workspace held once everything up to event `seq` of its run had happened.
create table workspace_snapshots (
    run_id text not null references runs (id) on delete cascade,
    org_id text not null,
    seq integer not null,
    object_key text not null,
    bytes integer not null,
    sha256 text not null,
    created_at integer not null,
    primary key (run_id, seq)
) strict, without rowid;

-- How often in a row the run could not be set up for a reason that may pass.
alter table runs add column postponements integer not null default 0;

create index runs_cancel on runs (lease_owner) where cancel_requested_at is not null and lease_expires_at is not null;
