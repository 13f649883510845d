//! What the operator reports besides the status: Events, metrics and the audit record.

mod alerts;
mod audit;
mod exposition;
mod metrics;
mod notification;

pub use alerts::{
    Alerts, Impersonators, binding_kind, binding_reference, namespace_reference, reference, settings_reference,
};
pub use audit::Audit;
pub use exposition::Format;
pub use metrics::{Counts, Metrics};
pub use notification::{Notification, grant_notifications, namespace_notifications, settings_notification};
