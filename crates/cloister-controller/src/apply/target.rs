//! What a request is about.

use cloister_api::GrantPhase;
use cloister_core::grant::Grant;
use cloister_index::{decode::Decoded, key::Key};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use serde_json::{Value, json};
use std::sync::Arc;

/// The object that actions are done for.
pub struct ObjectTarget<K> {
    /// Its key.
    pub key: Key,
    /// The namespace that the actions are about.
    pub namespace: Arc<str>,
    /// Its own API.
    pub api: Api<Decoded<K>>,
    /// Its metadata, where there is such an object.
    pub metadata: ObjectMeta,
    /// The finalizer that the operator holds on it.
    pub finalizer: &'static str,
    /// How its status was when it was decided.
    pub found: Found,
}

/// How a status was found, where it is written in whatever version there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It does not matter, or could not be read.
    Anyhow,
    /// Nothing was said yet, of which the API server says by default that it is pending.
    Unseen,
    /// In this phase.
    In(GrantPhase),
}

impl Found {
    /// That of a grant, as far as it could be read.
    pub fn of(grant: &Decoded<Grant>) -> Self {
        match (grant.status(), &grant.object) {
            (Some(status), _) => Found::In(status.phase),
            (None, Ok(_)) => Found::Unseen,
            (None, Err(_)) => Found::Anyhow,
        }
    }

    /// The part of a JSON patch that tests it.
    pub(super) fn test(self) -> Option<Value> {
        match self {
            Found::Anyhow => None,
            Found::Unseen => Found::In(GrantPhase::default()).test(),
            Found::In(phase) => Some(json!({"op": "test", "path": "/status/phase", "value": phase})),
        }
    }
}
