-- Policies: what runs may do, in Cedar; and approvals: requests that wait for a person.

-- Counts the changes of a tenant's policies: a parsed set is good for as long as this is the same.
alter table organizations add column policy_revision bigint not null default 0;

-- Of the organization, or of one of its applications. A text that was replaced is another version.
create table policies (
    id text collate "C" primary key,
    org_id text collate "C" not null references organizations (id),
    application_id text collate "C",
    name text collate "C" not null,
    content text collate "C" not null,
    version bigint not null,
    created_by text collate "C" not null,
    created_at bigint not null,
    updated_at bigint not null,
    foreign key (org_id, application_id) references applications (org_id, id)
);
create index policies_page on policies (org_id, created_at, id);

-- One request of one run that a policy wants a person to look at. What was asked never changes; the answer is written once.
-- `told`: the run's log has the answer.
create table approvals (
    id text collate "C" primary key,
    org_id text collate "C" not null references organizations (id),
    application_id text collate "C",
    end_user_id text collate "C",
    run_id text collate "C" not null references runs (id) on delete cascade,
    call_id text collate "C" not null,
    subject text collate "C" not null,
    digest text collate "C" not null,
    card text collate "C" not null,
    reason text collate "C" not null,
    policy text collate "C" not null,
    status text collate "C" not null,
    requested_at bigint not null,
    expires_at bigint not null,
    scope text collate "C",
    decided_at bigint,
    decided_by text collate "C",
    decided_for text collate "C",
    note text collate "C",
    use_by bigint,
    used_at bigint,
    told bigint not null
);
create index approvals_page on approvals (org_id, requested_at, id);
create index approvals_status on approvals (org_id, status, requested_at, id);
create index approvals_run on approvals (run_id, requested_at, id);
