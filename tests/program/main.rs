//! The built program as a user meets it, and how its sources are laid out.

#[path = "../support/mod.rs"]
mod support;

mod architecture;
mod cli;
mod demo;
mod sandbox;
