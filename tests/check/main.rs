//! Judging a directory: `check`, `verify` and `inspect`.

#[path = "../support/mod.rs"]
mod support;

mod catalogue;
mod damage;
mod exports;
mod inspect;
mod origin;
mod rules;
mod servers;
mod verify;
