//! What the operator sees: text, JSON, progress, logs and signals. Results go to standard output, everything else to
//! standard error.

pub(crate) mod calendar;
mod hint;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod metrics_http;
pub(crate) mod report;
pub(crate) mod signals;
pub(crate) mod streams;
pub(crate) mod terminal;
