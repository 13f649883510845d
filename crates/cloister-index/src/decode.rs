//! Objects of our kinds, read so that nothing in them is overlooked.
//!
//! A field that this version does not know might forbid what the rest seems to allow, so an object with one counts as
//! unreadable, as does one that cannot be decoded at all. Neither stops the watch.

use cloister_api::{GrantStatus, Identity, ResearchNamespace, labels, unseen::is_unseen};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;
use std::{borrow::Cow, cmp::Ordering};

/// An object of kind `K`, or why it cannot be read.
#[derive(Clone, Debug)]
pub struct Decoded<K> {
    /// Its metadata, without what the operator has no use for.
    pub metadata: ObjectMeta,
    /// The object.
    pub object: Result<K, Undecodable>,
}

/// Why an object cannot be read.
#[derive(Clone, Debug)]
pub struct Undecodable {
    /// What is wrong with it.
    pub error: String,
    /// Its status, as it is.
    pub status: Value,
    /// Who asked for it, as it is.
    requested_by: Value,
    /// Of a grant: what can be read of it all the same.
    pub grant: Option<Box<Readable>>,
}

/// What can be read of a grant that cannot be read as a whole.
#[derive(Clone, Debug)]
pub struct Readable {
    /// Its status.
    pub status: Option<GrantStatus>,
    /// Who asked for it.
    pub requested_by: Option<Identity>,
}

impl Undecodable {
    /// Reads what can be read of a grant: what ends, ends by that.
    pub fn read_what_can_be(self) -> Self {
        let status = readable(&self.status);
        let requested_by = serde_json::from_value(self.requested_by.clone()).ok();
        Undecodable { grant: Some(Box::new(Readable { status, requested_by })), ..self }
    }
}

/// The fields of a status that can be read.
fn readable(status: &Value) -> Option<GrantStatus> {
    let fields = status.as_object()?;
    let alone = |key: &String, field: &Value| {
        let alone = Value::Object([(key.clone(), field.clone())].into_iter().collect());
        GrantStatus::deserialize(alone).is_ok()
    };
    let fields =
        fields.iter().filter(|(key, field)| alone(key, field)).map(|(key, field)| (key.clone(), field.clone()));
    GrantStatus::deserialize(Value::Object(fields.collect())).ok()
}

impl<K> Decoded<K> {
    /// The object's version, as a number that grows with each write.
    pub fn version(&self) -> u64 {
        version(&self.metadata)
    }

    /// Whether both were read alike: as objects that are the same, or with the same error.
    pub fn reads_as(&self, other: &Self, is_same: impl FnOnce(&K, &K) -> bool) -> bool {
        match (&self.object, &other.object) {
            (Ok(this), Ok(other)) => is_same(this, other),
            (Err(this), Err(other)) => this.error == other.error,
            _ => false,
        }
    }

    /// Whether it says something new: it is newer than the old one, or was read by a newer definition of its kind.
    pub fn is_news(&self, old: &Self, is_same: impl FnOnce(&K, &K) -> bool) -> bool {
        match self.version().cmp(&old.version()) {
            Ordering::Greater => true,
            Ordering::Equal => !self.reads_as(old, is_same),
            Ordering::Less => false,
        }
    }
}

/// An object's resourceVersion. The API server promises numbers that grow (KEP-5504).
pub fn version(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// The annotations of a kind that the operator reads. All others are for those who write the object to fill.
fn read_annotations<K: Resource<DynamicType = ()>>() -> &'static [&'static str] {
    if K::kind(&()) == ResearchNamespace::kind(&()) { &[labels::ADOPT] } else { &[] }
}

impl<'de, K: DeserializeOwned + Resource<DynamicType = ()>> Deserialize<'de> for Decoded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            let annotations = metadata.get_mut("annotations").and_then(Value::as_object_mut);
            let is_read = annotations.is_some_and(|all| {
                all.retain(|key, _| read_annotations::<K>().contains(&key.as_str()));
                !all.is_empty()
            });
            if !is_read {
                metadata.remove("annotations");
            }
        }
        // What the API server says by default is nothing that this operator has said.
        if value.get("status").is_some_and(is_unseen)
            && let Some(object) = value.as_object_mut()
        {
            object.remove("status");
        }
        let metadata = value.get("metadata").map_or(Ok(ObjectMeta::default()), ObjectMeta::deserialize);
        let metadata = metadata.map_err(serde::de::Error::custom)?;
        let mut unknown = None;
        let decoded: Result<K, _> = serde_ignored::deserialize(&value, |path| {
            // A field that may be null stands in the path as a `?` of its own.
            let path = path.to_string().replace(".?", "");
            if path.starts_with("spec") && unknown.is_none() {
                unknown = Some(path);
            }
        });
        let error = match (&decoded, unknown) {
            (Err(error), _) => Some(error.to_string()),
            (Ok(_), Some(path)) => Some(format!("unknown field {path}")),
            (Ok(_), None) => None,
        };
        let object = match (decoded, error) {
            (Ok(mut object), None) => {
                *object.meta_mut() = metadata.clone();
                Ok(object)
            }
            (_, error) => Err(Undecodable {
                error: error.unwrap_or_default(),
                status: value.get_mut("status").map(Value::take).unwrap_or_default(),
                requested_by: value.pointer_mut("/spec/requestedBy").map(Value::take).unwrap_or_default(),
                grant: None,
            }),
        };
        Ok(Decoded { metadata, object })
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Decoded<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind(_: &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group(_: &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version(_: &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural(_: &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloister_api::ResearchNamespace;
    use serde_json::json;

    fn decoded(spec: Value) -> Decoded<ResearchNamespace> {
        serde_json::from_value(json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace",
            "metadata": {"name": "interp", "uid": "1", "resourceVersion": "7", "managedFields": [{"manager": "kubectl"}]},
            "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn a_known_object_is_read() {
        let object = decoded(json!({"tier": "Standard"}));
        assert_eq!(object.version(), 7);
        assert_eq!(object.object.unwrap().metadata.managed_fields, None);
    }

    #[test]
    fn of_annotations_only_what_is_read_is_kept() {
        let object = |kind: &str, spec: Value| {
            let annotations =
                json!({"kubectl.kubernetes.io/last-applied-configuration": "{}", labels::ADOPT: "interp"});
            json!({
                "apiVersion": "cloister.dev/v1alpha1", "kind": kind,
                "metadata": {"name": "interp", "annotations": annotations}, "spec": spec,
            })
        };
        let research = object("ResearchNamespace", json!({"tier": "Standard"}));
        let research: Decoded<ResearchNamespace> = serde_json::from_value(research).unwrap();
        let kept = Some([(labels::ADOPT.to_owned(), "interp".to_owned())].into());
        assert_eq!(research.metadata.annotations, kept);
        assert_eq!(research.object.unwrap().metadata.annotations, kept);
        let role = object("AccessRole", json!({"clusterRole": "cloister:debugger", "accessPolicy": "standard"}));
        let role: Decoded<cloister_api::AccessRole> = serde_json::from_value(role).unwrap();
        assert_eq!(role.metadata.annotations, None);
    }

    #[test]
    fn a_status_that_nobody_wrote_is_none() {
        let crds = cloister_api::crds();
        let schema = crds[0].spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let default = schema.and_then(|schema| schema.properties.as_ref()?["status"].default.as_ref()).unwrap();
        let object: Decoded<ResearchNamespace> = serde_json::from_value(json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace", "metadata": {"name": "interp"},
            "spec": {"tier": "Standard"}, "status": default.0,
        }))
        .unwrap();
        assert_eq!(object.object.unwrap().status, None);
    }

    #[test]
    fn an_unknown_field_makes_it_unreadable() {
        let object = decoded(json!({"tier": "Standard", "egress": {"rules": [], "except": ["a"]}}));
        assert_eq!(object.object.unwrap_err().error, "unknown field spec.egress.except");
    }

    #[test]
    fn what_can_be_read_of_a_grant_is_read() {
        let grant: Decoded<cloister_api::StorageAccessGrant> = serde_json::from_value(json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageAccessGrant", "metadata": {"name": "eval"},
            "spec": {"storage": "weights", "role": "reader", "subjects": [], "later": true, "requestedBy": {"username": "alice"}},
            "status": {
                "phase": "Active", "secretName": "cloister-grant-weights.reader.trainer",
                "expiresAt": "2026-01-01T00:00:00Z", "conditions": "of another type", "later": [],
            },
        }))
        .unwrap();
        let grant = grant.object.unwrap_err().read_what_can_be().grant.unwrap();
        let status = grant.status.unwrap();
        assert_eq!((status.phase.as_str(), status.conditions.len()), ("Active", 0));
        assert_eq!(status.secret_name.as_deref(), Some("cloister-grant-weights.reader.trainer"));
        assert!(status.expires_at.is_some() && grant.requested_by.unwrap().username == "alice");
    }

    #[test]
    fn a_field_of_another_type_makes_it_unreadable() {
        let object = decoded(json!({"tier": "Platinum"}));
        assert!(object.object.unwrap_err().error.contains("Platinum"));
        assert_eq!(object.metadata.name.as_deref(), Some("interp"));
    }
}
