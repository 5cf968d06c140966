//! A real PostgreSQL behind the broker: over verified TLS, with a password that no run has.

mod asked;
mod programs;
mod site;
mod tool;

use self::site::Site;
