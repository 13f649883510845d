//! What is told of what was done: Events, metrics and the audit record. The status is written with what it is about.

mod alerts;
mod audit;
mod exposition;
mod metrics;
mod news;

pub use alerts::{
    Alerts, Impersonators, binding_kind, binding_reference, namespace_reference, reference, settings_reference,
};
pub use audit::Audit;
pub use exposition::Format;
pub use metrics::{Counts, Metrics};
pub use news::{News, of_grant, of_namespace, of_settings};
