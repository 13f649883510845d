//! Everything in a namespace that is not a NetworkPolicy: people, accounts, quota and limits.

use crate::model::{
    child::{Child, build::object_meta, names::DEFAULT_ACCOUNT},
    suggest::{closest, did_you_mean},
    writers::CONFIG_WRITERS,
};
use cloister_api::{LimitRangeItem, LimitType, ResearchNamespaceSpec, WorkloadsConfig, labels};
use k8s_openapi::{
    api::core::v1::{
        self as core, LimitRange, LimitRangeSpec, LocalObjectReference, ResourceQuota, ResourceQuotaSpec,
        ServiceAccount,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use std::collections::BTreeMap;

/// The quota, where one is declared. What would count the operator's own writes is left out: neither what denies nor the end
/// of a grant depends on how much room a quota leaves.
pub fn quota(namespace: &str, spec: &ResearchNamespaceSpec) -> Option<Child> {
    let declared = spec.quota.iter().filter(|(key, _)| !counts_own_writes(key));
    let hard: BTreeMap<String, Quantity> = declared.map(|(key, limit)| (key.clone(), limit.clone())).collect();
    (!hard.is_empty()).then(|| {
        Child::ResourceQuota(ResourceQuota {
            metadata: object_meta(namespace, labels::MANAGER),
            spec: Some(ResourceQuotaSpec { hard: Some(hard), ..ResourceQuotaSpec::default() }),
            status: None,
        })
    })
}

/// Whether a key of a quota counts objects of a kind that the operator writes.
pub fn counts_own_writes(key: &str) -> bool {
    let own = [
        "secrets",
        "serviceaccounts",
        "resourcequotas",
        "limitranges",
        "networkpolicies.networking.k8s.io",
        "ciliumnetworkpolicies.cilium.io",
        "rolebindings.rbac.authorization.k8s.io",
        "grantmounts.cloister.dev",
        "events",
        "events.events.k8s.io",
    ];
    own.contains(&key.strip_prefix("count/").unwrap_or(key))
}

/// The limits, where some are declared.
pub fn limits(namespace: &str, spec: &ResearchNamespaceSpec) -> Option<Child> {
    (!spec.limit_range.is_empty()).then(|| {
        Child::LimitRange(LimitRange {
            metadata: object_meta(namespace, labels::MANAGER),
            spec: Some(LimitRangeSpec { limits: spec.limit_range.iter().map(limit).collect() }),
        })
    })
}

fn limit(item: &LimitRangeItem) -> core::LimitRangeItem {
    let LimitRangeItem { type_, default, default_request, max, min, max_limit_request_ratio } = item;
    let some = |quantities: &BTreeMap<String, Quantity>| (!quantities.is_empty()).then(|| quantities.clone());
    core::LimitRangeItem {
        type_: match type_ {
            LimitType::Container => "Container",
            LimitType::Pod => "Pod",
            LimitType::PersistentVolumeClaim => "PersistentVolumeClaim",
        }
        .to_owned(),
        default: some(default),
        default_request: some(default_request),
        max: some(max),
        min: some(min),
        max_limit_request_ratio: some(max_limit_request_ratio),
    }
}

/// The default account, whose token no pod gets.
pub fn default_account(namespace: &str) -> Child {
    Child::ServiceAccount(ServiceAccount {
        metadata: object_meta(namespace, DEFAULT_ACCOUNT),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    })
}

/// Reason of an annotation of an account that is not written.
pub const ANNOTATION_REFUSED: &str = "AnnotationRefused";

/// The declared accounts, with those of their annotations that are listed: a cloud hands out identities by some.
pub fn accounts(
    namespace: &str,
    spec: &ResearchNamespaceSpec,
    workloads: &WorkloadsConfig,
) -> impl Iterator<Item = Child> {
    spec.service_accounts.iter().filter(|account| account.name != DEFAULT_ACCOUNT).map(move |account| {
        let mut metadata = object_meta(namespace, &account.name);
        let allowed = account.annotations.iter().filter(|(key, value)| workloads.allows_annotation(key, value));
        let allowed: BTreeMap<String, String> = allowed.map(|(key, value)| (key.clone(), value.clone())).collect();
        if !allowed.is_empty() {
            metadata.annotations = Some(allowed);
            metadata.labels.get_or_insert_default().insert(labels::LISTED.to_owned(), "true".to_owned());
        }
        let pull = account.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
        let pull: Vec<LocalObjectReference> = pull.collect();
        let image_pull_secrets = (!pull.is_empty()).then_some(pull);
        Child::ServiceAccount(ServiceAccount { metadata, image_pull_secrets, ..ServiceAccount::default() })
    })
}

/// Why annotations of accounts are not written, each that is not.
pub fn refused_annotations(spec: &ResearchNamespaceSpec, workloads: &WorkloadsConfig) -> Vec<String> {
    let all =
        spec.service_accounts.iter().flat_map(|account| account.annotations.iter().map(move |one| (account, one)));
    let refused = all.filter(|(_, (key, value))| !workloads.allows_annotation(key, value));
    refused
        .map(|(account, (key, _))| {
            let name = &account.name;
            let listed = &workloads.service_account_annotations;
            let beginnings: Vec<&str> =
                listed.iter().filter_map(|entry| entry.split_once('=')).filter(|(one, _)| one == key).map(|(_, b)| b).collect();
            let why = if beginnings.is_empty() {
                let keys = listed.iter().map(|entry| entry.split_once('=').map_or(entry.as_str(), |(key, _)| key));
                format!("is not listed{}", did_you_mean(closest(key, keys)))
            } else {
                format!("is listed for values that begin with {}", beginnings.join(" or "))
            };
            format!(
                "annotation {key} of ServiceAccount {name} is not written: it {why} in workloads.serviceAccountAnnotations of \
                 CloisterConfig, because annotations can give identities in a cloud; correct or remove it in \
                 spec.serviceAccounts, or ask {CONFIG_WRITERS} to list it"
            )
        })
        .collect()
}
