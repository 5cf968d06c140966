//! Strict JSON: what arrives is read once into a value without duplicate keys, and then into a closed type whose errors
//! name the place.

mod digest;
mod strict;
mod typed;

pub(crate) use digest::digest;
pub(crate) use strict::parse;
pub(crate) use typed::{Fault, FaultKind, read};

#[cfg(test)]
mod tests;
