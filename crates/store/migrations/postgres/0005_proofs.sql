-- Replay, fork and receipts.

-- Where a run comes from, when it is not a first one: {"forked_from": {run, seq}} or {"replay_of": run}.
alter table runs add column origin text collate "C";

-- The keys that sign receipts, newest last. The seed is sealed under a data key of its own, which the vault's root key wraps;
-- no row goes: what an old key signed is checked with it.
create table receipt_keys (
    id text collate "C" primary key,
    public_key text collate "C" not null,
    wrapped_key text collate "C" not null,
    sealed_seed text collate "C" not null,
    created_at bigint not null
);
create index receipt_keys_page on receipt_keys (created_at, id);
