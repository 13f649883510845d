//! A review, of which there is only something to say.

use super::Reconciler;
use crate::{error::Error, snapshot::Snapshot};
use cloister_api::AccessReview;
use cloister_index::key::Key;
use std::sync::Arc;

impl Reconciler {
    /// Says whether a review counts.
    pub(super) async fn review(&self, namespace: &Arc<str>, name: &Arc<str>) -> Result<(), Error> {
        let of_ended = Snapshot::look(&self.sources).ended_of_review(namespace, name);
        if let Some(grant) = &of_ended {
            self.take_back(namespace, grant).await?;
        }
        let store = &self.sources.store;
        if store.index().is_of_one_gone(namespace, name) {
            self.take_back_review(namespace, name).await?;
        }
        let said = Snapshot::look(&self.sources).review(namespace, name);
        let Some(said) = said else { return Ok(()) };
        let key = Key::Review(namespace.clone(), name.clone());
        self.tell(self.namespaced::<AccessReview>(key, namespace, said.metadata), said.status).await?;
        self.sources.audit.take_review(store, namespace, name);
        store.index_mut().settle_review_and_grant(namespace, name);
        Ok(())
    }
}
