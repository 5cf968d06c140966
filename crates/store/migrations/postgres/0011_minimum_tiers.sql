-- Minimum tiers: the weakest sandbox that runs of an organization, or of one of its applications, may have.

-- The tier's name; null: nothing is demanded.
alter table organizations add column minimum_tier text collate "C";
alter table applications add column minimum_tier text collate "C";

-- What was in force when the run was accepted, and who demanded it; null: nothing.
alter table runs add column minimum_tier text collate "C";
