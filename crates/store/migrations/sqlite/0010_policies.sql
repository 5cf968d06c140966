-- Policies: what runs may do, in Cedar; and approvals: requests that wait for a person.

-- Counts the changes of a tenant's policies: a parsed set is good for as long as this is the same.
alter table organizations add column policy_revision integer not null default 0;

-- Of the organization, or of one of its applications. A text that was replaced is another version.
create table policies (
    id text primary key,
    org_id text not null references organizations (id),
    application_id text,
    name text not null,
    content text not null,
    version integer not null,
    created_by text not null,
    created_at integer not null,
    updated_at integer not null,
    foreign key (org_id, application_id) references applications (org_id, id)
) strict;
create index policies_page on policies (org_id, created_at, id);

-- One request of one run that a policy wants a person to look at. What was asked never changes; the answer is written once.
-- `told`: the run's log has the answer.
create table approvals (
    id text primary key,
    org_id text not null references organizations (id),
    application_id text,
    end_user_id text,
    run_id text not null references runs (id) on delete cascade,
    call_id text not null,
    subject text not null,
    digest text not null,
    card text not null,
    reason text not null,
    policy text not null,
    status text not null,
    requested_at integer not null,
    expires_at integer not null,
    scope text,
    decided_at integer,
    decided_by text,
    decided_for text,
    note text,
    use_by integer,
    used_at integer,
    told integer not null
) strict;
create index approvals_page on approvals (org_id, requested_at, id);
create index approvals_status on approvals (org_id, status, requested_at, id);
create index approvals_run on approvals (run_id, requested_at, id);

insert into sqlite_stat1 (tbl, idx, stat) values
    ('policies', 'sqlite_autoindex_policies_1', '10000 1'),
    ('policies', 'policies_page', '10000 10 1 1'),
    ('approvals', 'sqlite_autoindex_approvals_1', '100000 1'),
    ('approvals', 'approvals_page', '100000 1000 1 1'),
    ('approvals', 'approvals_status', '100000 1000 250 1 1'),
    ('approvals', 'approvals_run', '100000 2 1 1');
analyze sqlite_schema;
