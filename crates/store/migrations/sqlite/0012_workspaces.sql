-- Workspaces that outlive their runs: one for each agent and end user, and the snapshots of what was in it.

-- `snapshot_id`: what the next run begins with; null: nothing was saved yet. It changes in one compare-and-set.
create table workspaces (
    id text primary key,
    org_id text not null references organizations (id),
    application_id text not null,
    agent_name text not null,
    end_user_id text not null,
    snapshot_id text,
    created_at integer not null,
    updated_at integer not null,
    foreign key (org_id, application_id) references applications (org_id, id),
    foreign key (org_id, end_user_id) references end_users (org_id, id)
) strict;
create unique index workspaces_key on workspaces (org_id, agent_name, end_user_id);
create index workspaces_page on workspaces (org_id, created_at, id);

-- The bytes are a file's. `origin`: why it is there; one with a name stays until somebody deletes it.
create table snapshots (
    id text primary key,
    org_id text not null,
    application_id text not null,
    workspace_id text not null references workspaces (id),
    run_id text,
    origin text not null,
    name text,
    file_id text not null references files (id),
    bytes integer not null,
    created_at integer not null
) strict;
create index snapshots_page on snapshots (workspace_id, created_at, id);
create index snapshots_application on snapshots (org_id, application_id, bytes);
create index snapshots_file on snapshots (file_id);

insert into sqlite_stat1 (tbl, idx, stat) values
    ('workspaces', 'sqlite_autoindex_workspaces_1', '100000 1'),
    ('workspaces', 'workspaces_key', '100000 1000 100 1'),
    ('workspaces', 'workspaces_page', '100000 1000 1 1'),
    ('snapshots', 'sqlite_autoindex_snapshots_1', '200000 1'),
    ('snapshots', 'snapshots_page', '200000 2 1 1'),
    ('snapshots', 'snapshots_application', '200000 2000 1000 1'),
    ('snapshots', 'snapshots_file', '200000 1');
analyze sqlite_schema;
