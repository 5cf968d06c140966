-- Deliveries that were given up or cancelled are let go of like those that arrived.

create index deliveries_given_up on deliveries (created_at, id) where status in ('failed', 'cancelled');

insert into sqlite_stat1 (tbl, idx, stat) values
    ('deliveries', 'deliveries_given_up', '1000000 1 1');
analyze sqlite_schema;
