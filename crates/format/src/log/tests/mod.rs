//! What spans several files of this folder.

mod examples;
mod random;
mod real;
mod rules;
mod sample;
mod slots;
mod streaming;
mod transaction_ranges;
