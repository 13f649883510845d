//! The record with which a chain goes on after a gap.

use super::{Record, chain::Head, record::RESUMED};
use jiff::Timestamp;
use serde_json::json;

/// The first record of a chain that does not go on where the one before ended.
pub fn resumed(why: &str, before: &Head, time: Timestamp) -> Record {
    Record {
        id: format!("audit.resumed.{}", time.as_nanosecond()),
        r#type: RESUMED.to_owned(),
        time,
        subject: "AuditRecord".to_owned(),
        data: json!({"why": why, "previous": {"records": before.length, "hash": before.hash}}),
    }
}
