//! What the operator writes into a research namespace, and the fingerprint by which it is compared with what is there.
//!
//! The operator keeps no copies of what it observes, only a [`Fingerprint`] of each object's meaning: the fields that
//! the operator owns, in a form that the API server's defaulting and its rewriting of quantities leave alone. Two
//! objects with one fingerprint need no write.

use crate::{namespace, ownership, quantity};
use cloister_api::{
    GrantKind, GrantMount, labels,
    plugin::{CiliumNetworkPolicy, ClusterNetworkPolicy},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::{LimitRange, LimitRangeItem, ResourceQuota, ServiceAccount},
        networking::v1::NetworkPolicy,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hasher},
    io,
    sync::Arc,
};

/// The kinds of objects that the operator writes into a namespace, in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    /// A NetworkPolicy.
    NetworkPolicy,
    /// A CiliumNetworkPolicy.
    CiliumNetworkPolicy,
    /// A ClusterNetworkPolicy about the namespace, in none itself.
    ClusterNetworkPolicy,
    /// A ResourceQuota.
    ResourceQuota,
    /// A LimitRange.
    LimitRange,
    /// A ServiceAccount.
    ServiceAccount,
    /// A RoleBinding.
    RoleBinding,
    /// A Role. The operator writes none.
    Role,
    /// The ClusterRole by which owners edit the ResearchNamespace, in none itself.
    ClusterRole,
    /// The ClusterRoleBinding of that ClusterRole to the owners.
    ClusterRoleBinding,
    /// A GrantMount.
    GrantMount,
}

impl ChildKind {
    /// Whether it decides what is open in the namespace that it is in. Such policies add up, whoever wrote them.
    pub fn is_policy(self) -> bool {
        matches!(self, ChildKind::NetworkPolicy | ChildKind::CiliumNetworkPolicy)
    }

    /// Whether it decides who may do what in the namespace that it is in, or about it. Such rights add up, whoever wrote them.
    pub fn is_access(self) -> bool {
        matches!(
            self,
            ChildKind::RoleBinding | ChildKind::Role | ChildKind::ClusterRole | ChildKind::ClusterRoleBinding
        )
    }

    /// Whether it is about a namespace and in none, so that it does not go with the namespace.
    pub fn is_cluster_wide(self) -> bool {
        matches!(self, ChildKind::ClusterNetworkPolicy | ChildKind::ClusterRole | ChildKind::ClusterRoleBinding)
    }

    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            ChildKind::NetworkPolicy => "NetworkPolicy",
            ChildKind::CiliumNetworkPolicy => "CiliumNetworkPolicy",
            ChildKind::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            ChildKind::ResourceQuota => "ResourceQuota",
            ChildKind::LimitRange => "LimitRange",
            ChildKind::ServiceAccount => "ServiceAccount",
            ChildKind::RoleBinding => "RoleBinding",
            ChildKind::Role => "Role",
            ChildKind::ClusterRole => "ClusterRole",
            ChildKind::ClusterRoleBinding => "ClusterRoleBinding",
            ChildKind::GrantMount => "GrantMount",
        }
    }
}

/// Names a child inside its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildKey {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name.
    pub name: Box<str>,
}

impl ChildKey {
    /// The key of a child.
    pub fn new(kind: ChildKind, name: &str) -> Self {
        ChildKey { kind, name: name.into() }
    }
}

impl std::fmt::Display for ChildKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

/// Names a grant inside its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantRef {
    /// Its kind.
    pub kind: GrantKind,
    /// Its name.
    pub name: Arc<str>,
}

impl std::fmt::Display for GrantRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

/// An object that the operator wants to stand in a namespace.
#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    /// A NetworkPolicy.
    NetworkPolicy(NetworkPolicy),
    /// A CiliumNetworkPolicy.
    CiliumNetworkPolicy(Box<CiliumNetworkPolicy>),
    /// A ClusterNetworkPolicy.
    ClusterNetworkPolicy(Box<ClusterNetworkPolicy>),
    /// A ResourceQuota.
    ResourceQuota(ResourceQuota),
    /// A LimitRange.
    LimitRange(LimitRange),
    /// A ServiceAccount.
    ServiceAccount(ServiceAccount),
    /// A RoleBinding.
    RoleBinding(RoleBinding),
    /// A Role.
    Role(Role),
    /// A ClusterRole.
    ClusterRole(Box<ClusterRole>),
    /// A ClusterRoleBinding.
    ClusterRoleBinding(Box<ClusterRoleBinding>),
    /// A GrantMount.
    GrantMount(Box<GrantMount>),
}

impl Child {
    /// Its kind.
    pub fn kind(&self) -> ChildKind {
        match self {
            Child::NetworkPolicy(_) => ChildKind::NetworkPolicy,
            Child::CiliumNetworkPolicy(_) => ChildKind::CiliumNetworkPolicy,
            Child::ClusterNetworkPolicy(_) => ChildKind::ClusterNetworkPolicy,
            Child::ResourceQuota(_) => ChildKind::ResourceQuota,
            Child::LimitRange(_) => ChildKind::LimitRange,
            Child::ServiceAccount(_) => ChildKind::ServiceAccount,
            Child::RoleBinding(_) => ChildKind::RoleBinding,
            Child::Role(_) => ChildKind::Role,
            Child::ClusterRole(_) => ChildKind::ClusterRole,
            Child::ClusterRoleBinding(_) => ChildKind::ClusterRoleBinding,
            Child::GrantMount(_) => ChildKind::GrantMount,
        }
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Child::NetworkPolicy(object) => &object.metadata,
            Child::CiliumNetworkPolicy(object) => &object.metadata,
            Child::ClusterNetworkPolicy(object) => &object.metadata,
            Child::ResourceQuota(object) => &object.metadata,
            Child::LimitRange(object) => &object.metadata,
            Child::ServiceAccount(object) => &object.metadata,
            Child::RoleBinding(object) => &object.metadata,
            Child::Role(object) => &object.metadata,
            Child::ClusterRole(object) => &object.metadata,
            Child::ClusterRoleBinding(object) => &object.metadata,
            Child::GrantMount(object) => &object.metadata,
        }
    }

    /// Its key.
    pub fn key(&self) -> ChildKey {
        ChildKey::new(self.kind(), self.metadata().name.as_deref().unwrap_or_default())
    }

    /// Whether it denies what is not passed on, above every NetworkPolicy.
    pub fn is_bound(&self) -> bool {
        namespace::is_bound(&self.key())
    }

    /// What is done where the API server refuses for good to write this over what stands, so that what stands would stay
    /// as it is, however much more it opens.
    pub fn if_refused(&self) -> IfRefused {
        match self {
            // What denies is better old than gone.
            _ if is_deny(&self.key()) || self.is_bound() => IfRefused::Keep,
            Child::NetworkPolicy(_)
            | Child::CiliumNetworkPolicy(_)
            | Child::ClusterNetworkPolicy(_)
            | Child::RoleBinding(_)
            | Child::Role(_)
            | Child::ClusterRole(_)
            | Child::ClusterRoleBinding(_) => IfRefused::Delete,
            // An account that goes takes the pods with it that run as it. Its annotations are what gives it access.
            Child::ServiceAccount(account) if account.metadata.annotations.is_some() => {
                let mut bare = account.clone();
                bare.metadata.annotations = None;
                IfRefused::Write(Box::new(Child::ServiceAccount(bare)))
            }
            // They bound what is there. A mount opens nothing by being old, and is all that tells of the copy.
            Child::ServiceAccount(_) | Child::ResourceQuota(_) | Child::LimitRange(_) | Child::GrantMount(_) => {
                IfRefused::Keep
            }
        }
    }

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

    /// What is remembered of it.
    pub fn observe(&self) -> ObservedChild {
        let metadata = self.metadata();
        let grant = ownership::named_after(self.kind(), metadata.name.as_deref().unwrap_or_default());
        let is_mount = self.kind() == ChildKind::GrantMount;
        ObservedChild {
            fingerprint: self.fingerprint(),
            stands_for: None,
            marked: ownership::is_marked(self.kind(), metadata),
            widens: match self {
                Child::NetworkPolicy(policy) => policy.spec.as_ref().is_some_and(|spec| {
                    spec.egress.as_ref().is_some_and(|rules| !rules.is_empty())
                        || spec.ingress.as_ref().is_some_and(|rules| !rules.is_empty())
                }),
                // Whatever it says: nobody else has a say.
                Child::CiliumNetworkPolicy(_) => true,
                _ => false,
            },
            terminating: metadata.deletion_timestamp.is_some(),
            owner: grant.as_ref().and_then(|grant| ownership::owner_of(grant, metadata)),
            // What a grant opened is named in its record by its uid, and a copy by that of the mount it is for.
            uid: metadata.uid.as_deref().filter(|_| grant.is_some() || is_mount).map(Into::into),
            grant,
            version: match self {
                Child::GrantMount(mount) => mount
                    .metadata
                    .annotations
                    .as_ref()
                    .and_then(|a| a.get(labels::CREDENTIAL_VERSION))
                    .map(|v| v.as_str().into()),
                _ => None,
            },
            mount: match self {
                Child::GrantMount(mount) => Some(Box::new(MountFacts::of(mount))),
                _ => None,
            },
        }
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
                let automount = (metadata.name.as_deref() == Some(namespace::children::DEFAULT_ACCOUNT))
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

/// Whether this is the policy that denies everything in its namespace.
pub fn is_deny(key: &ChildKey) -> bool {
    key.kind == ChildKind::NetworkPolicy && &*key.name == namespace::policies::DENY_ALL
}

/// What is done in place of a write that was refused for good.
#[derive(Clone, Debug, PartialEq)]
pub enum IfRefused {
    /// What stands is deleted.
    Delete,
    /// This is written, which gives nothing.
    Write(Box<Child>),
    /// What stands is kept.
    Keep,
}

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
        let mut hasher = HashWriter(DefaultHasher::new());
        // Writing to a hasher cannot fail, and the values are plain trees with string keys.
        serde_json::to_writer(&mut hasher, value).unwrap_or_default();
        Fingerprint(hasher.0.finish())
    }
}

struct HashWriter(DefaultHasher);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is remembered of an object in a research namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedChild {
    /// The fingerprint of what the operator owns of it.
    pub fingerprint: Fingerprint,
    /// The fingerprint of what the operator wrote, where the API server made this of it: it rounds quantities.
    pub stands_for: Option<Fingerprint>,
    /// Whether it carries a mark that is the operator's to set. Anybody may have set it, before admission reserved it.
    pub marked: bool,
    /// Of a policy: whether it allows anything. Policies add up, so that one that does widens a namespace.
    pub widens: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The grant in whose name it stands. Whether there is such a grant, and whether it wants this, is another matter.
    pub grant: Option<GrantRef>,
    /// The uid of that grant, by the object's one owner reference.
    pub owner: Option<Box<str>>,
    /// Of what a grant opened, and of a GrantMount: its uid.
    pub uid: Option<Box<str>>,
    /// Of a GrantMount: the version of the credential that was copied.
    pub version: Option<Box<str>>,
    /// Of a GrantMount: where it is mounted.
    pub mount: Option<Box<MountFacts>>,
}

/// What is remembered of a GrantMount beyond the version of its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFacts {
    /// The ServiceAccount whose pods get it.
    pub account: Box<str>,
    /// The folder in them.
    pub path: Box<str>,
    /// Since when it is put into no pod, where it has no version.
    pub unmounted_at: Option<Timestamp>,
}

impl MountFacts {
    fn of(mount: &GrantMount) -> Self {
        let annotations = mount.metadata.annotations.as_ref();
        MountFacts {
            account: mount.spec.service_account_name.as_str().into(),
            path: mount.spec.mount_path.as_str().into(),
            unmounted_at: annotations.and_then(|all| all.get(labels::UNMOUNTED_AT)?.parse().ok()),
        }
    }
}

impl ObservedChild {
    /// Whether it is what should stand: as it was written, or as the API server keeps what was written.
    pub fn is(&self, child: &Child) -> bool {
        let wanted = child.fingerprint();
        !self.terminating && (self.fingerprint == wanted || self.stands_for == Some(wanted))
    }
}

/// The children of one namespace.
pub type Children = BTreeMap<ChildKey, ObservedChild>;
