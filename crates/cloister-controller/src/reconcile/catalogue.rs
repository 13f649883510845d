//! The settings and the objects of the catalogue, of which there is only something to say.

use super::Reconciler;
use crate::{
    error::Error,
    report::{settings_notification, settings_reference},
    snapshot::{Said, Snapshot},
};
use cloister_api::{AccessPolicy, AccessRole, CloisterConfig, EgressAllowlist, StorageResource};
use cloister_index::{decode::Decoded, index::Indexed, key::Key};
use kube::{Resource, core::ClusterResourceScope};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, sync::Arc};

impl Reconciler {
    /// Says whether an AccessRole can be asked for.
    pub(super) async fn role(&self, name: &Arc<str>) -> Result<(), Error> {
        let said = Snapshot::look(&self.sources).role(name);
        self.say::<AccessRole>(Key::Role(name.clone()), said).await
    }

    /// Says whether a StorageResource can be asked for.
    pub(super) async fn storage(&self, name: &Arc<str>) -> Result<(), Error> {
        let said = Snapshot::look(&self.sources).storage(name);
        self.say::<StorageResource>(Key::Storage(name.clone()), said).await
    }

    /// Says whether an AccessPolicy can be used.
    pub(super) async fn policy(&self, name: &Arc<str>) -> Result<(), Error> {
        let said = Snapshot::look(&self.sources).policy(name);
        self.say::<AccessPolicy>(Key::Policy(name.clone()), said).await
    }

    async fn say<K>(&self, key: Key, said: Option<Said>) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned,
        Decoded<K>: Indexed,
    {
        let Some(Said { metadata, status, .. }) = said else { return Ok(()) };
        self.tell(self.cluster_wide::<K>(key, metadata), status).await
    }

    /// Says how an allowlist is used.
    pub(super) async fn allowlist(&self, name: &Arc<str>) -> Result<(), Error> {
        let key = Key::Allowlist(name.clone());
        let queue = &self.sources.store.queue;
        let (said, now) = {
            let snapshot = Snapshot::look(&self.sources);
            (snapshot.allowlist(name), snapshot.now)
        };
        let Some(Said { metadata, status, next, only_counts, .. }) = said else { return Ok(()) };
        next.into_iter().for_each(|end| queue.add_at(key.clone(), end));
        if status.is_some()
            && only_counts
            && let Err(later) = self.counted.may_count(name, now)
        {
            queue.add_at(key, later);
            return Ok(());
        }
        self.tell(self.cluster_wide::<EgressAllowlist>(key, metadata), status).await
    }

    /// Says whether the settings are in force.
    pub(super) async fn config(&self) -> Result<(), Error> {
        let said = Snapshot::look(&self.sources).config();
        let Some(Said { metadata, status, next, changed, .. }) = said else { return Ok(()) };
        next.into_iter().for_each(|later| self.sources.store.queue.add_at(Key::Config, later));
        self.tell(self.cluster_wide::<CloisterConfig>(Key::Config, metadata), status).await?;
        let notification = changed.and_then(|(before, after)| settings_notification(&before, &after));
        notification.into_iter().for_each(|one| self.alerts.raise(settings_reference(), one));
        Ok(())
    }
}
