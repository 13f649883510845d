//! A review, of which there is only something to say.

use super::{asking::Asking, catalogue::said, ended, grant::with_input, tell};
use crate::{
    context::Context,
    error::Error,
    index::reviewed,
    key::Key,
    write::{Found, Target},
};
use cloister_api::AccessReview;
use cloister_core::grant;
use kube::Api;
use std::sync::Arc;

/// Says whether a review counts.
pub async fn reconcile(context: &Context, namespace: &Arc<str>, name: &Arc<str>) -> Result<(), Error> {
    let now = context.clock.now();
    let of_ended = {
        let index = context.index();
        let found = index.reviews.get(namespace).and_then(|reviews| reviews.get(name));
        let grant = found.and_then(|found| found.object.as_ref().ok()).map(reviewed);
        grant.filter(|grant| index.ended(namespace, grant).is_some())
    };
    if let Some(grant) = &of_ended {
        ended::take_back(context, namespace, grant).await?;
    }
    if context.index().is_of_one_gone(namespace, name) {
        ended::take_back_review(context, namespace, name).await?;
    }
    let (metadata, status) = {
        let index = context.index();
        let Some(found) = index.reviews.get(namespace).and_then(|reviews| reviews.get(name)) else { return Ok(()) };
        if index.is_ending(namespace) && found.object.as_ref().is_ok_and(grant::is_answered) {
            // It goes with its Namespace, as its grant does.
            return Ok(());
        }
        let status = said(found, now, |review: &AccessReview| {
            let named = reviewed(review);
            let elsewhere = index.of_uid_elsewhere(namespace, &named, &review.spec.request_ref.uid);
            let of_grant = with_input(&Asking::new(context), &index, namespace, &named, now, |input| {
                grant::review(review, Some(input), elsewhere, now)
            });
            of_grant.unwrap_or_else(|| grant::review(review, None, elsewhere, now))
        });
        (found.metadata.clone(), status)
    };
    let target: Target<AccessReview> = Target {
        key: Key::Review(namespace.clone(), name.clone()),
        namespace: namespace.clone(),
        api: Api::namespaced(context.client.clone(), namespace),
        metadata,
        finalizer: "",
        found: Found::Anyhow,
    };
    tell(context, &target, status).await?;
    context.audit.take_review(context, namespace, name);
    context.index_mut().settle_review_and_grant(namespace, name);
    Ok(())
}
