-- Deliveries that were given up or cancelled are let go of like those that arrived.

create index deliveries_given_up on deliveries (created_at, id) where status in ('failed', 'cancelled');
