//! Grants that have ended and of which only a few facts are kept: the whole is read again where it is needed.

use super::Reconciler;
use crate::error::Error;
use cloister_api::{AccessReview, with_grant_type};
use cloister_core::{grant::Grant, model::child::GrantRef};
use cloister_index::decode::Decoded;
use kube::{Api, Resource, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, sync::Arc};

impl Reconciler {
    /// Reads an ended grant again and keeps it whole until it is settled.
    pub(super) async fn take_back(&self, namespace: &Arc<str>, grant: &GrantRef) -> Result<(), Error> {
        let name = &grant.name;
        let found = with_grant_type!(grant.kind, K => self.read::<K>(namespace, name).await?.map(any));
        if let Some(found) = found {
            self.sources.store.index_mut().take_back(namespace, grant, found);
        }
        Ok(())
    }

    /// Reads a review again of which only a few facts are kept: its grant is gone, which is to be said of it.
    pub(super) async fn take_back_review(&self, namespace: &Arc<str>, name: &Arc<str>) -> Result<(), Error> {
        if let Some(found) = self.read::<AccessReview>(namespace, name).await? {
            self.sources.store.index_mut().take_back_review(namespace, name, found);
        }
        Ok(())
    }

    /// An object as it is now, if it is there: that it is gone, the watch will tell.
    async fn read<K>(&self, namespace: &str, name: &str) -> Result<Option<Decoded<K>>, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let requests = &self.writer.requests;
        let api: Api<Decoded<K>> = Api::namespaced(requests.client(), namespace);
        let what = || format!("read {} {namespace}/{name}", K::kind(&()));
        match requests.request(what, api.get(name)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.category() == "not_found" => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn any<K: Into<Grant>>(found: Decoded<K>) -> Decoded<Grant> {
    Decoded { metadata: found.metadata, object: found.object.map(Into::into) }
}
