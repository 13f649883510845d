//! What CloisterConfig names, and whether it is there. What is missing closes nothing by itself: it is said, before somebody
//! asks in vain for what depends on it.

use crate::model::suggest::{closest, did_you_mean};
use cloister_api::{CloisterConfigSpec, EgressConfig};
use std::{borrow::Cow, collections::BTreeMap};

/// The kinds of objects that CloisterConfig names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Named {
    /// An AccessPolicy.
    AccessPolicy,
    /// A RuntimeClass.
    RuntimeClass,
    /// A Namespace.
    Namespace,
    /// A StorageClass.
    StorageClass,
    /// The driver of a volume.
    CsiDriver,
    /// A PriorityClass.
    PriorityClass,
}

impl Named {
    /// All of them.
    pub const ALL: [Named; 6] = [
        Named::AccessPolicy,
        Named::RuntimeClass,
        Named::Namespace,
        Named::StorageClass,
        Named::CsiDriver,
        Named::PriorityClass,
    ];

    /// Whether the name of another object may be told that is like one that is not there: not of kinds that whoever writes
    /// CloisterConfig, or reads it, may not list. They would learn all names, by one guess after the other.
    pub fn may_be_suggested(self) -> bool {
        self == Named::AccessPolicy
    }

    /// The name of the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Named::AccessPolicy => "AccessPolicy",
            Named::RuntimeClass => "RuntimeClass",
            Named::Namespace => "Namespace",
            Named::StorageClass => "StorageClass",
            Named::CsiDriver => "CSIDriver",
            Named::PriorityClass => "PriorityClass",
        }
    }
}

/// What there is of what CloisterConfig names.
#[derive(Debug, Default)]
pub struct There<'a> {
    /// The names of the objects of each kind. Of a kind that is not here, it is not known which there are.
    pub names: BTreeMap<Named, Vec<&'a str>>,
    /// Whether a ResearchNamespace is of tier Sandboxed.
    pub sandboxed: bool,
    /// Whether an EgressGrant waits or is open.
    pub egress_grants: bool,
    /// The credential namespaces whose Secrets the operator may not read.
    pub unreadable: Vec<&'a str>,
}

/// A place in CloisterConfig that names an object.
#[derive(Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The field.
    pub field: Cow<'static, str>,
    /// The kind of the object.
    pub kind: Named,
    /// Its name.
    pub name: &'a str,
    /// What does not work without it.
    without: &'static str,
}

/// All that the settings name, the worst to miss first.
pub fn references(spec: &CloisterConfigSpec) -> Vec<Reference<'_>> {
    let named = |field: &'static str, kind, name, without| Reference { field: field.into(), kind, name, without };
    let policy = &spec.egress.access_policy;
    let mut all = vec![named("egress.accessPolicy", Named::AccessPolicy, policy, "no EgressGrant can be decided")];
    all.extend(spec.runtime_classes.get("Sandboxed").map(|class| {
        let without = "no pod of tier Sandboxed is admitted";
        named("runtimeClasses.Sandboxed", Named::RuntimeClass, class, without)
    }));
    let credentials = spec.credential_namespaces.iter();
    all.extend(
        credentials.map(|name| named("credentialNamespaces", Named::Namespace, name, "no credential is kept in it")),
    );
    all.extend(spec.gateways.iter().map(|gateway| {
        let field = format!("gateways ({})", gateway.name).into();
        Reference { field, kind: Named::Namespace, name: &gateway.namespace, without: "the gateway lets nobody in" }
    }));
    let workloads = &spec.workloads;
    all.extend(workloads.controller_namespaces.iter().map(|name| {
        named("workloads.controllerNamespaces", Named::Namespace, name, "no account of it can be a member")
    }));
    all.extend(workloads.volumes.iter().filter_map(|volume| {
        let (kind, name) = volume.split_once(':')?;
        match kind {
            "storageClass" => Some(named(
                "workloads.volumes",
                Named::StorageClass,
                name,
                "PersistentVolumeClaims that name it get no volume",
            )),
            "csi" => Some(named("workloads.volumes", Named::CsiDriver, name, "pods with such a volume do not start")),
            _ => None,
        }
    }));
    all.extend(
        workloads.priority_classes.iter().map(|name| {
            named("workloads.priorityClasses", Named::PriorityClass, name, "pods that name it are rejected")
        }),
    );
    all
}

/// What the settings name that is not there, in words, the worst first. A default that nobody uses is not missed.
pub fn missing(spec: &CloisterConfigSpec, there: &There<'_>) -> Vec<String> {
    let is_missed = |reference: &Reference<'_>| match reference.kind {
        Named::AccessPolicy => there.egress_grants || !is_default(spec, reference.kind),
        Named::RuntimeClass => there.sandboxed || !is_default(spec, reference.kind),
        _ => true,
    };
    let absent = references(spec).into_iter().filter(is_missed).filter_map(|reference| {
        let Reference { field, kind, name, without } = reference;
        let names = there.names.get(&kind).filter(|names| !names.contains(&name))?;
        let like = || closest(name, names.iter().copied());
        let meant = did_you_mean(kind.may_be_suggested().then(like).flatten());
        // Nobody wrote a default.
        let by_default = if is_default(spec, kind) { ", by default," } else { "" };
        Some(format!("{field} names{by_default} {} {name}, which does not exist{meant}: {without}", kind.as_str()))
    });
    let is_there = |name: &str| there.names.get(&Named::Namespace).is_none_or(|names| names.contains(&name));
    let unreadable = there.unreadable.iter().filter(|name| is_there(name)).map(|name| {
        format!(
            "credentialNamespaces names Namespace {name}, where the operator may not read Secrets: apply the Role and the RoleBinding \
             cloister:credentials there (deploy/rbac/operator.yaml)"
        )
    });
    absent.chain(unreadable).collect()
}

/// Whether what the settings name of this kind is what they have where nobody writes it.
fn is_default(spec: &CloisterConfigSpec, kind: Named) -> bool {
    match kind {
        Named::AccessPolicy => spec.egress.access_policy == EgressConfig::default().access_policy,
        Named::RuntimeClass => spec.runtime_classes == CloisterConfigSpec::default().runtime_classes,
        _ => false,
    }
}

/// Whether the settings name an object of this kind and name, or one of the kind that is not there and might be meant to be
/// this one.
pub fn concerns(spec: &CloisterConfigSpec, kind: Named, name: &str, is_there: impl Fn(&str) -> bool) -> bool {
    let mut of_kind = references(spec).into_iter().filter(|reference| reference.kind == kind);
    of_kind.any(|reference| reference.name == name || !is_there(reference.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(spec: serde_json::Value) -> CloisterConfigSpec {
        serde_json::from_value(spec).unwrap()
    }

    fn there<'a>(names: &[(Named, &[&'a str])]) -> There<'a> {
        let mut all: BTreeMap<Named, Vec<&str>> = Named::ALL.map(|kind| (kind, Vec::new())).into();
        all.insert(Named::Namespace, vec!["cloister-credentials"]);
        all.extend(names.iter().map(|(kind, names)| (*kind, names.to_vec())));
        There { names: all, ..There::default() }
    }

    fn mistyped() -> CloisterConfigSpec {
        spec(json!({
            "egress": {"accessPolicy": "egres"},
            "runtimeClasses": {"Sandboxed": "kata"},
            "credentialNamespaces": ["cloister-credentials", "vault"],
            "gateways": [{"name": "hub", "namespace": "jhubb", "podSelector": {}}],
            "workloads": {
                "controllerNamespaces": ["kubeflw"],
                "volumes": ["image", "storageClass:gp9", "csi:secrets-store.csi.k8s.io", "persistentVolume:old"],
                "priorityClasses": ["nosuch"],
            },
        }))
    }

    #[test]
    fn all_that_is_missing_is_said_with_what_was_meant() {
        let known = there(&[
            (Named::AccessPolicy, &["egress", "standard"]),
            (Named::Namespace, &["cloister-credentials", "jhub", "kubeflow"]),
            (Named::StorageClass, &["gp3"]),
        ]);
        assert_eq!(
            missing(&mistyped(), &known),
            [
                "egress.accessPolicy names AccessPolicy egres, which does not exist (did you mean egress?): no EgressGrant can \
                 be decided",
                "runtimeClasses.Sandboxed names RuntimeClass kata, which does not exist: no pod of tier Sandboxed is admitted",
                "credentialNamespaces names Namespace vault, which does not exist: no credential is kept in it",
                "gateways (hub) names Namespace jhubb, which does not exist: the gateway lets nobody in",
                "workloads.controllerNamespaces names Namespace kubeflw, which does not exist: no account of it can be a \
                 member",
                "workloads.volumes names StorageClass gp9, which does not exist: PersistentVolumeClaims that name it get no \
                 volume",
                "workloads.volumes names CSIDriver secrets-store.csi.k8s.io, which does not exist: pods with such a volume do \
                 not start",
                "workloads.priorityClasses names PriorityClass nosuch, which does not exist: pods that name it are rejected",
            ]
        );
    }

    /// Of what is suggested, whoever reads the settings may list the kind.
    #[test]
    fn who_reads_the_settings_lists_what_is_suggested() {
        let people = include_str!("../../../../deploy/rbac/people.yaml");
        let readers: Vec<&str> = people.split("\n---\n").filter(|role| role.contains("cloisterconfigs")).collect();
        assert_eq!(readers.len(), 3, "catalogue-admin, policy-admin and auditor");
        for kind in Named::ALL.into_iter().filter(|kind| kind.may_be_suggested()) {
            let plural = format!("{}ies", kind.as_str().to_lowercase().trim_end_matches('y'));
            assert!(readers.iter().all(|role| role.contains(&plural)), "{plural}");
        }
        for members in [
            include_str!("../../../../deploy/rbac/members.yaml"),
            include_str!("../../../../deploy/rbac/debugger.yaml"),
        ] {
            assert!(!members.contains("cloisterconfigs"));
        }
    }

    #[test]
    fn what_is_there_and_what_is_not_known_is_not_missed() {
        let known = there(&[
            (Named::AccessPolicy, &["egres"]),
            (Named::RuntimeClass, &["kata"]),
            (Named::Namespace, &["cloister-credentials", "vault", "jhubb", "kubeflw"]),
            (Named::StorageClass, &["gp9"]),
            (Named::CsiDriver, &["secrets-store.csi.k8s.io"]),
            (Named::PriorityClass, &["nosuch"]),
        ]);
        assert_eq!(missing(&mistyped(), &known), Vec::<String>::new());
        assert_eq!(missing(&mistyped(), &There::default()), Vec::<String>::new());
    }

    #[test]
    fn a_default_that_nobody_uses_is_not_missed() {
        let said = |there: &There<'_>| missing(&spec(json!({})), there).len();
        assert_eq!(said(&there(&[])), 0);
        assert_eq!(said(&There { sandboxed: true, ..there(&[]) }), 1);
        assert_eq!(said(&There { egress_grants: true, ..there(&[]) }), 1);
        assert_eq!(said(&there(&[(Named::Namespace, &[])])), 1, "the namespace of credentials comes with the operator");
    }

    #[test]
    fn a_namespace_whose_secrets_cannot_be_read_is_said_where_it_is_there() {
        let unreadable = |names: &[&'static str]| {
            let known = there(&[(Named::Namespace, &["cloister-credentials", "vault"])]);
            let spec = spec(json!({"credentialNamespaces": ["vault"]}));
            missing(&spec, &There { unreadable: names.to_vec(), ..known })
        };
        let said = unreadable(&["vault"]);
        assert!(
            said.len() == 1 && said[0].contains("Namespace vault, where the operator may not read Secrets"),
            "{said:?}"
        );
        assert!(unreadable(&["gone"]).is_empty());
    }

    #[test]
    fn the_settings_are_concerned_by_what_they_name_and_by_what_they_may_have_meant() {
        let (config, is_there) = (mistyped(), |name: &str| name == "kata");
        for (kind, name, concerned) in [
            (Named::RuntimeClass, "kata", true),
            (Named::RuntimeClass, "gvisor", false),
            (Named::AccessPolicy, "egress", true),
            (Named::PriorityClass, "other", true),
        ] {
            assert_eq!(concerns(&config, kind, name, is_there), concerned, "{name}");
        }
        assert!(!concerns(&spec(json!({})), Named::StorageClass, "gp3", |_| false));
    }
}
