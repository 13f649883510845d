//! A review, of which there is only something to say.

use super::{carry_out, grant::with_input};
use crate::{context::Context, decode::Decoded, error::Error, index::reviewed, key::Key, write::Target};
use cloister_api::AccessReview;
use cloister_core::{catalogue::undecodable, condition::conditions, grant, plan::Plan};
use kube::Api;
use serde_json::json;
use std::sync::Arc;

/// Says whether a review counts.
pub async fn reconcile(context: &Context, namespace: &Arc<str>, name: &Arc<str>) -> Result<(), Error> {
    let now = context.clock.now();
    let (metadata, status) = {
        let index = context.index();
        let Some(found) = index.reviews.get(namespace).and_then(|reviews| reviews.get(name)) else { return Ok(()) };
        if found.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let status = match found {
            Decoded { object: Ok(review), .. } => {
                let judged = with_input(context, &index, namespace, &reviewed(review), now, |input| {
                    grant::review(review, Some(input), now)
                });
                judged.unwrap_or_else(|| grant::review(review, None, now)).map(|status| json!(status))
            }
            Decoded { metadata, object: Err(broken) } => {
                let before = broken.status.get("conditions").cloned();
                let before = before.and_then(|before| serde_json::from_value(before).ok()).unwrap_or_else(Vec::new);
                let after = conditions(&before, undecodable(&broken.error), metadata.generation, now);
                (before != after).then(|| json!({"conditions": after}))
            }
        };
        (found.metadata.clone(), status)
    };
    let target: Target<AccessReview> = Target {
        key: Key::Review(namespace.clone(), name.clone()),
        namespace: namespace.clone(),
        api: Api::namespaced(context.client.clone(), namespace),
        metadata,
        finalizer: "",
    };
    carry_out(context, &target, Plan { status, ..Plan::default() }).await?;
    context.audit.take_review(context, namespace, name).await;
    Ok(())
}
