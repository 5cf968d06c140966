-- Webhooks: circuits, rotation, asymmetric keys.

alter table webhooks add column signatures text not null default '["v1"]';
-- The Ed25519 seed, sealed, and the public key as it is shown.
alter table webhooks add column sealed_signing_key text;
alter table webhooks add column public_key text;
-- What was rotated out signs along until then.
alter table webhooks add column old_sealed_secret text;
alter table webhooks add column old_sealed_signing_key text;
alter table webhooks add column old_until integer;
alter table webhooks add column disabled_reason text;
create index webhooks_rotated on webhooks (old_until) where old_until is not null;

-- Who shares slots and a circuit: the endpoint's id, or for a run's own address its scheme, host and port.
alter table deliveries add column destination text not null default '';
-- A redelivery neither waits for its run's other deliveries nor holds them up.
alter table deliveries add column redelivery_of text;
-- Attempts that only probed an open circuit: they use up none of the schedule.
alter table deliveries add column probes integer not null default 0;
-- The last attempts, JSON.
alter table deliveries add column attempt_log text;
update deliveries set destination = webhook_id where webhook_id is not null;
-- A claim moves next_attempt_at to its own end, so that this index holds what may be attempted, and when.
create index deliveries_queue on deliveries (org_id, destination, next_attempt_at, id) where status = 'pending';
create index deliveries_open on deliveries (org_id, webhook_id, status, created_at, id) where status <> 'delivered';
drop index deliveries_due;

-- A destination whose last attempt failed; no row: all is well.
create table webhook_circuits (
    org_id text not null references organizations (id),
    destination text not null,
    failures integer not null,
    failing_since integer not null,
    opened_at integer,
    next_probe_at integer,
    probe_wait_ms integer not null,
    paused_until integer,
    primary key (org_id, destination)
) strict, without rowid;

insert into sqlite_stat1 (tbl, idx, stat) values
    ('deliveries', 'deliveries_queue', '100000 1000 100 2 1'),
    ('deliveries', 'deliveries_open', '100000 1000 100 20 1 1');
analyze sqlite_schema;
