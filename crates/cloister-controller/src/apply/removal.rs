//! Removes what has been kept long enough.

use super::writer::Writer;
use crate::error::Error;
use cloister_api::{AccessReview, GrantKind, with_grant_type};
use kube::{
    Api, Resource,
    api::{DeleteParams, Preconditions},
    core::{NamespaceResourceScope, PartialObjectMeta},
};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// What is removed when it has been kept long enough.
#[derive(Clone, Copy, Debug)]
pub enum Removal {
    /// A grant.
    Grant(GrantKind),
    /// A review.
    Review,
}

impl Writer {
    /// Removes an ended grant or one of its reviews, if it still is the one with this uid.
    ///
    /// # Errors
    ///
    /// The request failed. That it is gone, or another by now, is no failure.
    pub async fn remove(&self, what: Removal, namespace: &str, name: &str, uid: &str) -> Result<(), Error> {
        match what {
            Removal::Grant(kind) => {
                with_grant_type!(kind, K => self.remove_one::<K>(kind.as_str(), namespace, name, uid).await)
            }
            Removal::Review => self.remove_one::<AccessReview>("AccessReview", namespace, name, uid).await,
        }
    }

    async fn remove_one<K>(&self, kind: &'static str, namespace: &str, name: &str, uid: &str) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<PartialObjectMeta<K>> = Api::namespaced(self.client(), namespace);
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams::default().preconditions(preconditions);
        let what = || format!("remove {kind} {namespace}/{name}, whose retention time is over");
        self.metrics.wrote("delete", kind);
        match self.requests.request(what, api.delete(name, &params)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
