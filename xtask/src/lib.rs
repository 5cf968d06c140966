//! Every chore of the house, one file a verb: [`setup`], [`test`], [`lint`], [`tidy`], [`escape`], [`leak`], [`bench`],
//! [`dist`].
//!
//! Chores start programs and print; that is their work and the reason the crate is on the lists of exceptions. Nothing that
//! ships depends on this crate. A verb stands here only when it does something.
//!
//! Walk on: [`tidy`] holds the house rules and runs as an ordinary test, [`outcome`] counts what cargo reports.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to the person who started it")]

pub mod bench;
pub mod chaos;
pub mod dist;
pub mod escape;
pub mod leak;
pub mod lint;
pub mod outcome;
pub mod root;
pub mod setup;
pub mod test;
pub mod tidy;
