//! Labels, annotations, finalizers and names that are part of the contract.

/// The label of everything the operator writes; its value is [`MANAGER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The field manager of every write, and the value of [`MANAGED_BY`].
pub const MANAGER: &str = "cloister";

/// On a Namespace: the ResearchNamespace it belongs to, which has the same name. Admission policies bind by it, and
/// nobody but the operator may set it.
pub const RESEARCH_NAMESPACE: &str = "cloister.dev/research-namespace";

/// On a Namespace: `true` once its deny policies stand. Until then no pod is admitted.
pub const ENFORCED: &str = "cloister.dev/enforced";

/// On a Namespace: its isolation tier.
pub const TIER: &str = "cloister.dev/tier";

/// On a Namespace of a tier that needs one: the RuntimeClass that every pod must name.
pub const RUNTIME_CLASS: &str = "cloister.dev/runtime-class";

/// On a Namespace while CloisterConfig lists something in `workloads`, `gateways` or `accessNetworks`: admission then reads
/// the lists, and is closed without.
pub const WORKLOADS: &str = "cloister.dev/workloads";

/// On an object that gives what CloisterConfig lists: ingress from access networks and gateways, rights of an account of
/// another namespace, annotations of an account. Admission then compares it with the lists.
pub const LISTED: &str = "cloister.dev/listed";

/// On a Namespace whose ResearchNamespace was deleted with `deletionPolicy: Retain`.
pub const RETAINED: &str = "cloister.dev/retained";

/// What the keys of labels begin with that tools put on what they apply. An owner may write them on a ResearchNamespace, so no
/// selector may ask for them. `deploy/admission/research-namespaces.yaml` has the same list.
pub const OF_TOOLS: [&str; 9] = [
    "app.kubernetes.io/",
    "applyset.kubernetes.io/",
    "argocd.argoproj.io/",
    "cli-utils.sigs.k8s.io/",
    "helm.sh/",
    "helm.toolkit.fluxcd.io/",
    "kapp.k14s.io/",
    "kustomize.toolkit.fluxcd.io/",
    "objectset.rio.cattle.io/",
];

/// Whether a label of this key is a tool's.
pub fn is_of_tools(key: &str) -> bool {
    OF_TOOLS.iter().any(|prefix| key.starts_with(prefix))
}

/// Annotation on an existing Namespace, set by somebody other than the operator: the name of the ResearchNamespace
/// that may take it over. On a ResearchNamespace, set by somebody who may create one: its own name, to take back the
/// Namespace that was [`RETAINED`].
pub const ADOPT: &str = "cloister.dev/adopt";

/// On a Namespace that is offered for adoption: since when, in Unix seconds, admission refuses there what is new and would
/// stand in the way. Set by the operator before it looks at what is there.
pub const ADOPTING: &str = "cloister.dev/adopting";

/// On the Namespace of the operator, set by whoever installs it: [`OUTSIDE`] where the operator runs outside of the cluster,
/// with a token that was given to no pod.
pub const OPERATOR: &str = "cloister.dev/operator";

/// The value of [`OPERATOR`].
pub const OUTSIDE: &str = "outside";

/// Annotation on a ClusterRole: the writes that a grant of it may give although what they leave behind may outlast the
/// grant, as `patch deployments.apps`, parted by commas.
pub const MAY_OUTLAST_GRANT: &str = "cloister.dev/may-outlast-grant";

/// On an object that a grant opened: the grant's name.
pub const GRANT: &str = "cloister.dev/grant";

/// On an object that a grant opened: the grant's kind.
pub const GRANT_KIND: &str = "cloister.dev/grant-kind";

/// On every pod of a research namespace, set and checked at admission: the pod's ServiceAccount.
pub const SERVICE_ACCOUNT: &str = "cloister.dev/service-account";

/// Annotation on a GrantMount: the version of the source credential that the copy was made from.
pub const CREDENTIAL_VERSION: &str = "cloister.dev/credential-version";

/// Annotation on a GrantMount without a version: since when the credential is put into no new pod.
pub const UNMOUNTED_AT: &str = "cloister.dev/unmounted-at";

/// Annotation on the Secret of a credential, set where the Secret is kept: the StorageResources that may hand it out,
/// separated by commas. Without it none may.
pub const STORAGE_RESOURCES: &str = "cloister.dev/storage-resources";

/// Annotation on the Secret of a credential or on a ClusterRole, set where that is kept: how sensitive it is at least,
/// whatever the catalogue says.
pub const MINIMUM_SENSITIVITY: &str = "cloister.dev/minimum-sensitivity";

/// Annotation on the Secret of a credential or on a ClusterRole, set where that is kept: the AccessPolicies that may decide
/// about it, separated by commas. Without it any may that the catalogue names.
pub const ACCESS_POLICIES: &str = "cloister.dev/access-policies";

/// What the keys of labels begin with by which ClusterRoles are gathered into those that are shipped.
pub const AGGREGATE_TO: &str = "cloister.dev/aggregate-to-";

/// The annotations of `cloister.dev` that are read on the Secret of a credential. Any other closes it.
pub const OF_CREDENTIALS: [&str; 3] = [STORAGE_RESOURCES, ACCESS_POLICIES, MINIMUM_SENSITIVITY];

/// The annotations of `cloister.dev` that are read on a ClusterRole. Any other keeps grants from giving it.
pub const OF_CLUSTER_ROLES: [&str; 3] = [MAY_OUTLAST_GRANT, ACCESS_POLICIES, MINIMUM_SENSITIVITY];

/// Finalizer of a ResearchNamespace: held until the namespace is closed (`Retain`) or gone (`Delete`).
pub const NAMESPACE_FINALIZER: &str = "cloister.dev/namespace";

/// Finalizer of the policies that deny by default: held until no pod is left (CVE-2024-7598).
pub const ENFORCED_FINALIZER: &str = "cloister.dev/enforced";

/// Finalizer of a grant: held until its revocation is confirmed.
pub const GRANT_FINALIZER: &str = "cloister.dev/grant";

/// What the name of every copied credential begins with. Admission lets only the account named in the rest of it
/// reference such a Secret.
pub const GRANT_SECRET_PREFIX: &str = "cloister-grant-";

/// The namespace of the operator.
pub const SYSTEM_NAMESPACE: &str = "cloister-system";

/// The ServiceAccount of the operator in [`SYSTEM_NAMESPACE`].
pub const OPERATOR_ACCOUNT: &str = "cloister-operator";
