-- Retention and compaction of old logs.

-- When the contents of a finished run (its payloads, input and output) were deleted; headers and digests stay.
alter table runs add column payloads_deleted_at integer;
create index runs_finished on runs (finished_at, id) where finished_at is not null and payloads_deleted_at is null;
create index deliveries_delivered on deliveries (created_at, id) where status = 'delivered';

insert into sqlite_stat1 (tbl, idx, stat) values
    ('runs', 'runs_finished', '1000000 1 1'),
    ('deliveries', 'deliveries_delivered', '1000000 1 1');
analyze sqlite_schema;
