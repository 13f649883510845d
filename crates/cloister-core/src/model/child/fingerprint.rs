//! The fingerprint of what the operator owns of an object: two objects with one fingerprint need no write.
//!
//! It leaves out what the API server's defaulting and its rewriting of quantities change.

use super::{names, object::Child};
use crate::model::quantity;
use cloister_api::labels;
use k8s_openapi::{api::core::v1::LimitRangeItem, apimachinery::pkg::api::resource::Quantity};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hasher},
};

#[derive(Serialize)]
struct OwnedMetadata<'a> {
    managed_by: Option<&'a str>,
    grant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant_kind: Option<&'a str>,
    enforced: bool,
    owners: Vec<&'a str>,
}

fn canonical(quantities: &BTreeMap<String, Quantity>) -> BTreeMap<&str, String> {
    quantities.iter().map(|(resource, quantity)| (resource.as_str(), quantity::canonical(quantity))).collect()
}

/// A limit with the API server's defaults filled in, whether it has been there or not.
#[derive(Serialize)]
struct DefaultedLimits<'a> {
    r#type: &'a str,
    default: BTreeMap<&'a str, String>,
    default_request: BTreeMap<&'a str, String>,
    max: BTreeMap<&'a str, String>,
    min: BTreeMap<&'a str, String>,
    ratio: BTreeMap<&'a str, String>,
}

impl<'a> DefaultedLimits<'a> {
    /// Kubernetes defaults the limits of containers alone: a missing default is the maximum, and a missing default
    /// request is the default, or else the minimum (SetDefaults_LimitRangeItem).
    fn of(item: &'a LimitRangeItem) -> Self {
        let map =
            |quantities: &'a Option<BTreeMap<String, Quantity>>| quantities.as_ref().map(canonical).unwrap_or_default();
        let (max, min, ratio) = (map(&item.max), map(&item.min), map(&item.max_limit_request_ratio));
        let (mut default, mut default_request) = (map(&item.default), map(&item.default_request));
        if item.type_ == "Container" {
            fill(&mut default, &max);
            fill(&mut default_request, &default);
            fill(&mut default_request, &min);
        }
        DefaultedLimits { r#type: &item.type_, default, default_request, max, min, ratio }
    }
}

fn fill<'a>(into: &mut BTreeMap<&'a str, String>, from: &BTreeMap<&'a str, String>) {
    for (resource, quantity) in from {
        into.entry(resource).or_insert_with(|| quantity.clone());
    }
}

/// A hash of what the operator owns of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a value, by its JSON.
    pub fn of(value: &impl Serialize) -> Self {
        // Values are plain trees with string keys, which can always be written. Most come to less than this.
        let mut json = Vec::with_capacity(1024);
        serde_json::to_writer(&mut json, value).unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        hasher.write(&json);
        Fingerprint(hasher.finish())
    }
}

impl Child {
    /// Whether another differs from it in the values of quantities alone, which the API server rounds and bounds.
    pub fn differs_in_quantities_alone(&self, other: &Child) -> bool {
        let quantities = matches!(self, Child::ResourceQuota(_) | Child::LimitRange(_));
        quantities && self.without_quantities().fingerprint() == other.without_quantities().fingerprint()
    }

    fn without_quantities(&self) -> Child {
        let blank = |all: &mut Option<BTreeMap<String, Quantity>>| {
            all.iter_mut().flat_map(BTreeMap::values_mut).for_each(|quantity| quantity.0 = "0".to_owned());
        };
        let mut child = self.clone();
        match &mut child {
            Child::ResourceQuota(quota) => quota.spec.iter_mut().for_each(|spec| blank(&mut spec.hard)),
            Child::LimitRange(limits) => {
                for item in limits.spec.iter_mut().flat_map(|spec| &mut spec.limits) {
                    let all = [&mut item.default, &mut item.default_request, &mut item.max, &mut item.min];
                    all.into_iter().chain([&mut item.max_limit_request_ratio]).for_each(blank);
                }
            }
            _ => {}
        }
        child
    }

    /// The fingerprint of what the operator owns of it.
    pub fn fingerprint(&self) -> Fingerprint {
        let metadata = self.metadata();
        let label = |key: &str| metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
        let meta = OwnedMetadata {
            managed_by: label(labels::MANAGED_BY),
            grant: label(labels::GRANT),
            grant_kind: label(labels::GRANT_KIND),
            enforced: metadata.finalizers.iter().flatten().any(|finalizer| finalizer == labels::ENFORCED_FINALIZER),
            owners: metadata.owner_references.iter().flatten().map(|owner| owner.uid.as_str()).collect(),
        };
        match self {
            Child::NetworkPolicy(policy) => Fingerprint::of(&(meta, &policy.spec)),
            Child::CiliumNetworkPolicy(policy) => Fingerprint::of(&(meta, &policy.spec, &policy.specs)),
            Child::ClusterNetworkPolicy(policy) => Fingerprint::of(&(meta, &policy.spec)),
            Child::ResourceQuota(quota) => {
                let spec = quota.spec.as_ref();
                let hard = spec.and_then(|spec| spec.hard.as_ref()).map(canonical);
                Fingerprint::of(&(meta, hard, spec.map(|spec| (&spec.scopes, &spec.scope_selector))))
            }
            Child::LimitRange(limits) => {
                let items: Vec<_> = limits.spec.iter().flat_map(|spec| &spec.limits).map(DefaultedLimits::of).collect();
                Fingerprint::of(&(meta, items))
            }
            Child::ServiceAccount(account) => {
                // Whether a token is mounted is the operator's matter in the default account alone.
                let automount = (metadata.name.as_deref() == Some(names::DEFAULT_ACCOUNT))
                    .then_some(account.automount_service_account_token)
                    .flatten();
                // Its annotations are what gives it access elsewhere: there are those that are declared, and no others.
                let annotations: BTreeMap<_, _> = metadata.annotations.iter().flatten().collect();
                let pull = account.image_pull_secrets.iter().flatten().filter(|_| automount.is_none());
                let pull: BTreeSet<&str> = pull.map(|secret| secret.name.as_str()).collect();
                if pull.is_empty() {
                    return Fingerprint::of(&(meta, automount, annotations));
                }
                Fingerprint::of(&(meta, automount, annotations, pull))
            }
            Child::RoleBinding(binding) => {
                Fingerprint::of(&(meta, &binding.role_ref.kind, &binding.role_ref.name, &binding.subjects))
            }
            Child::Role(role) => Fingerprint::of(&(meta, &role.rules)),
            Child::ClusterRole(role) => Fingerprint::of(&(meta, &role.rules, &role.aggregation_rule)),
            Child::ClusterRoleBinding(binding) => {
                Fingerprint::of(&(meta, &binding.role_ref.kind, &binding.role_ref.name, &binding.subjects))
            }
            Child::GrantMount(mount) => {
                let version = metadata.annotations.as_ref().and_then(|all| all.get(labels::CREDENTIAL_VERSION));
                Fingerprint::of(&(meta, version, &mount.spec))
            }
        }
    }
}
