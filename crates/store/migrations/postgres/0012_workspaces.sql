-- Workspaces that outlive their runs: one for each agent and end user, and the snapshots of what was in it.

-- `snapshot_id`: what the next run begins with; null: nothing was saved yet. It changes in one compare-and-set.
create table workspaces (
    id text collate "C" primary key,
    org_id text collate "C" not null references organizations (id),
    application_id text collate "C" not null,
    agent_name text collate "C" not null,
    end_user_id text collate "C" not null,
    snapshot_id text collate "C",
    created_at bigint not null,
    updated_at bigint not null,
    foreign key (org_id, application_id) references applications (org_id, id),
    foreign key (org_id, end_user_id) references end_users (org_id, id)
);
create unique index workspaces_key on workspaces (org_id, agent_name, end_user_id);
create index workspaces_page on workspaces (org_id, created_at, id);

-- The bytes are a file's. `origin`: why it is there; one with a name stays until somebody deletes it.
create table snapshots (
    id text collate "C" primary key,
    org_id text collate "C" not null,
    application_id text collate "C" not null,
    workspace_id text collate "C" not null references workspaces (id),
    run_id text collate "C",
    origin text collate "C" not null,
    name text collate "C",
    file_id text collate "C" not null references files (id),
    bytes bigint not null,
    created_at bigint not null
);
create index snapshots_page on snapshots (workspace_id, created_at, id);
create index snapshots_application on snapshots (org_id, application_id, bytes);
create index snapshots_file on snapshots (file_id);

