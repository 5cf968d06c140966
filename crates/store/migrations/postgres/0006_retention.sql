-- Retention and compaction of old logs.

-- When the contents of a finished run (its payloads, input and output) were deleted; headers and digests stay.
alter table runs add column payloads_deleted_at bigint;
create index runs_finished on runs (finished_at, id) where finished_at is not null and payloads_deleted_at is null;
create index deliveries_delivered on deliveries (created_at, id) where status = 'delivered';
