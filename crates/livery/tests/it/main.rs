//! The whole binary, as an operator and a client meet it: real processes, real sandboxes, real sockets, real kills.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test may panic")]

mod agentdojo;
mod approvals;
mod backup;
mod bombs;
mod cluster;
mod commands;
mod connections;
mod crash;
mod crash_matrix;
mod databases;
mod dist;
mod docs;
mod egress;
mod failures;
mod images;
mod isolate;
mod minimum_tiers;
mod nodes;
mod objects;
mod postgres;
mod proofs;
mod providers;
mod retention;
mod server;
mod settings;
mod shells;
mod support;
mod terminals;
mod tiers;
mod traces;
mod vault;
mod webhooks;
mod workspaces;
