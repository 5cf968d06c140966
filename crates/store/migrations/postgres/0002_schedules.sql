-- Schedules, triggers and delayed runs.

-- Runs: what started them, and when they may start ------------------------------------------------------------

alter table runs add column schedule_id text collate "C";
alter table runs add column trigger_id text collate "C";
alter table runs add column start_at bigint;
create index runs_schedule on runs (org_id, schedule_id, created_at, id) where schedule_id is not null;
create index runs_trigger on runs (org_id, trigger_id, created_at, id) where trigger_id is not null;
create index runs_schedule_live on runs (org_id, schedule_id, id)
    where schedule_id is not null and status in ('queued', 'running', 'waiting');

-- Schedules ------------------------------------------------------------------------------------------------------

-- A slot is a moment the expression names; the fire is the slot and its jitter. Only the claim moves them.
create table schedules (
    id text collate "C" primary key,
    org_id text collate "C" not null references organizations (id),
    application_id text collate "C",
    end_user_id text collate "C",
    created_by text collate "C" not null,
    name text collate "C" not null,
    cron text collate "C" not null,
    time_zone text collate "C" not null,
    overlap text collate "C" not null,
    catch_up text collate "C" not null,
    jitter_s bigint not null,
    request text collate "C" not null,
    revision bigint not null,
    paused_at bigint,
    pause_reason text collate "C",
    next_slot_at bigint,
    next_fire_at bigint,
    last_slot_at bigint,
    last_run_id text collate "C",
    last_error text collate "C",
    failures bigint not null,
    created_at bigint not null,
    updated_at bigint not null,
    foreign key (org_id, application_id) references applications (org_id, id),
    foreign key (org_id, end_user_id) references end_users (org_id, id)
);
create index schedules_page on schedules (org_id, created_at, id);
create index schedules_due on schedules (next_fire_at, id) where paused_at is null and next_fire_at is not null;

-- Runs of a schedule that wait until the one before them is over: accepted, and not yet in the queue.
create table schedule_holds (
    run_id text collate "C" primary key references runs (id) on delete cascade,
    org_id text collate "C" not null references organizations (id),
    schedule_id text collate "C" not null
);
create index schedule_holds_order on schedule_holds (org_id, schedule_id, run_id);

-- Triggers -------------------------------------------------------------------------------------------------------

create table triggers (
    id text collate "C" primary key,
    org_id text collate "C" not null references organizations (id),
    application_id text collate "C",
    end_user_id text collate "C",
    created_by text collate "C" not null,
    name text collate "C" not null,
    verification text collate "C" not null,
    filter text collate "C" not null,
    template text collate "C",
    request text collate "C" not null,
    sealed_secret text collate "C" not null,
    sealed_previous text collate "C",
    previous_until bigint,
    paused_at bigint,
    revision bigint not null,
    created_at bigint not null,
    updated_at bigint not null,
    foreign key (org_id, application_id) references applications (org_id, id),
    foreign key (org_id, end_user_id) references end_users (org_id, id)
);
create index triggers_page on triggers (org_id, created_at, id);

-- What came to a trigger, once per delivery: `delivery_key` is what a repetition is known by.
create table trigger_deliveries (
    trigger_id text collate "C" not null,
    delivery_key text collate "C" not null,
    id text collate "C" not null,
    org_id text collate "C" not null references organizations (id),
    delivery_id text collate "C",
    outcome text collate "C" not null,
    run_id text collate "C",
    reason text collate "C",
    received_at bigint not null,
    expires_at bigint not null,
    primary key (trigger_id, delivery_key)
);
create index trigger_deliveries_page on trigger_deliveries (org_id, trigger_id, received_at, id);
create index trigger_deliveries_expiry on trigger_deliveries (expires_at);
