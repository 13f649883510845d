//! Which kinds must have been listed before something may be decided: what is not seen is not gone.

use cloister_api::GrantKind;
use cloister_index::key::Key;

/// That it is known what the operator may bind.
pub const BINDABLE: &str = "SelfSubjectAccessReview";

/// What a grant may have opened, beside policies of a network plugin.
pub const OPENED: [&str; 3] = ["NetworkPolicy", "RoleBinding", "GrantMount"];

/// All kinds of grants.
pub const GRANTS: [&str; GrantKind::ALL.len()] = GrantKind::NAMES;

/// The settings: what they say, and what there is to open egress by.
pub const SETTINGS: [&str; 2] = ["CloisterConfig", "CustomResourceDefinition"];

const PLUGINS: [&str; 2] = ["CiliumNetworkPolicy", "ClusterNetworkPolicy"];

const NAMESPACE: [&[&str]; 5] = [
    &SETTINGS,
    &GRANTS,
    &OPENED,
    &PLUGINS,
    &[
        "ResearchNamespace",
        "Namespace",
        "EgressAllowlist",
        "StorageResource",
        "Service",
        "RuntimeClass",
        "Role",
        "ClusterRole",
        "ClusterRoleBinding",
        "ResourceQuota",
        "LimitRange",
        "ServiceAccount",
    ],
];

const GRANT: [&[&str]; 5] = [
    &SETTINGS,
    &GRANTS,
    &OPENED,
    &PLUGINS,
    &[
        "ResearchNamespace",
        "Namespace",
        "AccessReview",
        "AccessPolicy",
        "AccessRole",
        "StorageResource",
        "ClusterRole",
        "Service",
        BINDABLE,
    ],
];

/// What the decision about a key depends on. That pods cannot be seen holds up nothing: a decision that needs to know of
/// them takes it that there are some.
pub fn of(key: &Key) -> Vec<&'static str> {
    match key {
        Key::Config => SETTINGS.to_vec(),
        Key::Namespace(_) => NAMESPACE.concat(),
        Key::Grant(..) => GRANT.concat(),
        Key::Review(..) => [GRANT.as_slice(), &[&["AccessReview"]]].concat().concat(),
        Key::Allowlist(_) => [&SETTINGS[..], &["EgressAllowlist", "ResearchNamespace"]].concat(),
        Key::Users(_) => Vec::new(),
        Key::Storage(_) => {
            [&SETTINGS[..], &["StorageResource", "AccessPolicy", "ClusterRole", "Service", BINDABLE]].concat()
        }
        Key::Policy(_) => vec!["AccessPolicy"],
        Key::Retention => [&SETTINGS[..], &GRANTS, &["AccessReview"]].concat(),
        Key::Role(_) => vec!["AccessRole", "AccessPolicy", "ClusterRole", BINDABLE],
        Key::Mount(..) => [&GRANTS[..], &["GrantMount"]].concat(),
        Key::Impersonation => {
            vec!["ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding", "ResearchNamespace", "AccessPolicy"]
        }
    }
}

/// What the end of a grant depends on, once it is known to have come: what it opened, and the others that share it.
pub fn of_end(kind: GrantKind) -> Vec<&'static str> {
    match kind {
        GrantKind::RoleGrant => vec!["RoleGrant", "RoleBinding"],
        GrantKind::EgressGrant => {
            [&["EgressGrant", "NetworkPolicy", "CustomResourceDefinition"], &PLUGINS[..]].concat()
        }
        GrantKind::StorageAccessGrant => {
            [&["StorageAccessGrant", "CustomResourceDefinition"], &OPENED[..], &PLUGINS[..]].concat()
        }
    }
}

/// What the end of any grant depends on.
pub fn of_ends() -> Vec<&'static str> {
    GrantKind::ALL.into_iter().flat_map(of_end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloister_core::model::child::GrantRef;

    #[test]
    fn an_end_needs_no_more_than_any_decision_about_the_grant() {
        for kind in GrantKind::ALL {
            let all = of(&Key::Grant("interp".into(), GrantRef { kind, name: "run".into() }));
            let end = of_end(kind);
            assert!(end.contains(&kind.as_str()) && end.iter().all(|needed| all.contains(needed)), "{end:?}");
            assert!(!end.contains(&"Pod") && !all.contains(&"Pod"), "pods are looked for at the end");
        }
    }
}
