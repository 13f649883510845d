//! What is read of a pod's metadata.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use std::collections::BTreeMap;

/// The annotation of a pod that a kubelet makes for a static pod.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// The few things of its metadata that are needed: all other annotations and managed fields are the tenant's to fill.
pub(super) fn few_of_it<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Few {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        creation_timestamp: Option<Time>,
        deletion_timestamp: Option<Time>,
        deletion_grace_period_seconds: Option<i64>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<Annotations>,
    }
    #[derive(Deserialize)]
    struct Annotations {
        #[serde(rename = "kubernetes.io/config.mirror")]
        mirror: Option<IgnoredAny>,
    }
    let few = Few::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: few.name,
        namespace: few.namespace,
        uid: few.uid,
        resource_version: few.resource_version,
        creation_timestamp: few.creation_timestamp,
        deletion_timestamp: few.deletion_timestamp,
        deletion_grace_period_seconds: few.deletion_grace_period_seconds,
        // They are kept of those alone that are on the network of their nodes.
        labels: few.labels,
        annotations: few.annotations.and_then(|all| all.mirror).map(|_| [(MIRROR.to_owned(), String::new())].into()),
        ..ObjectMeta::default()
    })
}
