//! What an operator that stands by can tell: whether what should have ended has. It acts on nothing.

use crate::leader::Leadership;
use cloister_api::{GrantKind, with_grant_type};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, ListParams},
};
use std::time::Duration;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(30);

/// How late an end may be: whoever acts may have died, and the Lease must run out first.
const LATE: SignedDuration = SignedDuration::from_secs(30);

/// How many grants are read at a time.
const PAGE: u32 = 500;

/// Looks again and again while another operator acts. It never ends by itself.
pub async fn watch(client: Client, leadership: &Leadership) {
    loop {
        tokio::time::sleep(EVERY).await;
        let overdue = async {
            let now = Timestamp::now();
            let mut count = 0;
            for kind in GrantKind::ALL {
                count += with_grant_type!(kind, K => overdue::<K>(&client, now).await?);
            }
            Ok::<_, kube::Error>(count)
        };
        // What cannot be read now is read the next time.
        if let Ok(count) = overdue.await {
            leadership.note_overdue(count);
        }
    }
}

async fn overdue<K>(client: &Client, now: Timestamp) -> kube::Result<usize>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<K>(&()));
    let (mut count, mut params) = (0, ListParams::default().limit(PAGE));
    loop {
        let page = api.list(&params).await?;
        count += page.items.iter().filter(|grant| is_overdue(grant, now)).count();
        let next = page.metadata.continue_.filter(|next| !next.is_empty());
        let Some(next) = next else { return Ok(count) };
        params = params.continue_token(&next);
    }
}

/// Whether a grant is open although its end was due.
fn is_overdue(grant: &DynamicObject, now: Timestamp) -> bool {
    let text = |field: &str| grant.data.pointer(field).and_then(|value| value.as_str());
    let is_open = text("/status/phase").is_some_and(|phase| ["Approved", "Active"].contains(&phase));
    let end: Option<Timestamp> = text("/status/expiresAt").and_then(|end| end.parse().ok());
    is_open && end.is_some_and(|end| end + LATE < now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_open_past_its_end_is_overdue() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let is_overdue = |phase: &str, end: &str| {
            let grant = json!({"metadata": {"name": "run"}, "status": {"phase": phase, "expiresAt": end}});
            is_overdue(&serde_json::from_value(grant).unwrap(), now)
        };
        assert!(is_overdue("Active", "2026-01-01T00:00:29Z") && is_overdue("Approved", "2026-01-01T00:00:29Z"));
        assert!(!is_overdue("Active", "2026-01-01T00:00:31Z"));
        assert!(!is_overdue("Expired", "2026-01-01T00:00:29Z") && !is_overdue("Active", "never"));
    }
}
