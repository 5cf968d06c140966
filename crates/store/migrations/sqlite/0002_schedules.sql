-- Schedules, triggers and delayed runs.

-- Runs: what started them, and when they may start ------------------------------------------------------------

alter table runs add column schedule_id text;
alter table runs add column trigger_id text;
alter table runs add column start_at integer;
create index runs_schedule on runs (org_id, schedule_id, created_at, id) where schedule_id is not null;
create index runs_trigger on runs (org_id, trigger_id, created_at, id) where trigger_id is not null;
create index runs_schedule_live on runs (org_id, schedule_id, id)
    where schedule_id is not null and status in ('queued', 'running', 'waiting');

-- Schedules ------------------------------------------------------------------------------------------------------

-- A slot is a moment the expression names; the fire is the slot and its jitter. Only the claim moves them.
create table schedules (
    id text primary key,
    org_id text not null references organizations (id),
    application_id text,
    end_user_id text,
    created_by text not null,
    name text not null,
    cron text not null,
    time_zone text not null,
    overlap text not null,
    catch_up text not null,
    jitter_s integer not null,
    request text not null,
    revision integer not null,
    paused_at integer,
    pause_reason text,
    next_slot_at integer,
    next_fire_at integer,
    last_slot_at integer,
    last_run_id text,
    last_error text,
    failures integer not null,
    created_at integer not null,
    updated_at integer not null,
    foreign key (org_id, application_id) references applications (org_id, id),
    foreign key (org_id, end_user_id) references end_users (org_id, id)
) strict;
create index schedules_page on schedules (org_id, created_at, id);
create index schedules_due on schedules (next_fire_at, id) where paused_at is null and next_fire_at is not null;

-- Runs of a schedule that wait until the one before them is over: accepted, and not yet in the queue.
create table schedule_holds (
    run_id text primary key references runs (id) on delete cascade,
    org_id text not null references organizations (id),
    schedule_id text not null
) strict;
create index schedule_holds_order on schedule_holds (org_id, schedule_id, run_id);

-- Triggers -------------------------------------------------------------------------------------------------------

create table triggers (
    id text primary key,
    org_id text not null references organizations (id),
    application_id text,
    end_user_id text,
    created_by text not null,
    name text not null,
    verification text not null,
    filter text not null,
    template text,
    request text not null,
    sealed_secret text not null,
    sealed_previous text,
    previous_until integer,
    paused_at integer,
    revision integer not null,
    created_at integer not null,
    updated_at integer not null,
    foreign key (org_id, application_id) references applications (org_id, id),
    foreign key (org_id, end_user_id) references end_users (org_id, id)
) strict;
create index triggers_page on triggers (org_id, created_at, id);

-- What came to a trigger, once per delivery: `delivery_key` is what a repetition is known by.
create table trigger_deliveries (
    trigger_id text not null,
    delivery_key text not null,
    id text not null,
    org_id text not null references organizations (id),
    delivery_id text,
    outcome text not null,
    run_id text,
    reason text,
    received_at integer not null,
    expires_at integer not null,
    primary key (trigger_id, delivery_key)
) strict;
create index trigger_deliveries_page on trigger_deliveries (org_id, trigger_id, received_at, id);
create index trigger_deliveries_expiry on trigger_deliveries (expires_at);

-- Plans ----------------------------------------------------------------------------------------------------------

insert into sqlite_stat1 (tbl, idx, stat) values
    ('runs', 'runs_schedule', '100000 20000 1000 1 1'),
    ('runs', 'runs_trigger', '100000 20000 1000 1 1'),
    ('runs', 'runs_schedule_live', '1000 200 2 1'),
    ('schedules', 'sqlite_autoindex_schedules_1', '10000 1'),
    ('schedules', 'schedules_page', '10000 1000 1 1'),
    ('schedules', 'schedules_due', '10000 1 1'),
    ('schedule_holds', 'sqlite_autoindex_schedule_holds_1', '1000 1'),
    ('schedule_holds', 'schedule_holds_order', '1000 200 5 1'),
    ('triggers', 'sqlite_autoindex_triggers_1', '10000 1'),
    ('triggers', 'triggers_page', '10000 1000 1 1'),
    ('trigger_deliveries', 'sqlite_autoindex_trigger_deliveries_1', '1000000 1000 1'),
    ('trigger_deliveries', 'trigger_deliveries_page', '1000000 200000 1000 1 1'),
    ('trigger_deliveries', 'trigger_deliveries_expiry', '1000000 1');
analyze sqlite_schema;
