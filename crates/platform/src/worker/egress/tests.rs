//! A run's programs and its proxy, against an upstream that wants a key and gives it back. There is no sandbox here: what a
//! program would send, the tests send. Attacks carry their numbers.

mod answers;
mod direct;
mod policy;
mod revoked;
mod scene;
mod sockets;
mod uploads;
