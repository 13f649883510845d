//! Which rules of a role end with the binding that gave them.
//!
//! A grant takes its binding away, and nothing else that its holder made meanwhile. So what a grant may give is a list of
//! what leaves nothing behind: reads, ways into what runs, and deletions. Everything else (a Deployment that runs on, an
//! EndpointSlice that leads elsewhere, a certificate) is refused, also of kinds that nobody has heard of yet. What is
//! known to be harmless in a cluster is named on the role itself, by the annotation `cloister.dev/may-outlast-grant`;
//! what gives another way in is refused even so.

use k8s_openapi::api::rbac::v1::PolicyRule;
use std::collections::BTreeSet;

/// Verbs that change nothing.
const READS: [&str; 3] = ["get", "list", "watch"];

/// Writes that leave nothing behind for their holder: group, resources, verbs.
const ENDS_WITH_THE_BINDING: [(&str, &[&str], &[&str]); 8] = [
    // A way into what runs. What was begun may go on for a while, but cannot be begun again.
    ("", &["pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy"], &["create"]),
    ("", &["pods/eviction"], &["create"]),
    ("", &["pods", "configmaps", "services", "persistentvolumeclaims", "events"], DELETIONS),
    ("apps", &["deployments", "replicasets", "statefulsets", "daemonsets"], DELETIONS),
    // How many there are, not what runs in them.
    ("apps", &["deployments/scale", "replicasets/scale", "statefulsets/scale"], &["update", "patch"]),
    ("batch", &["jobs", "cronjobs"], DELETIONS),
    ("autoscaling", &["horizontalpodautoscalers"], DELETIONS),
    // A question.
    ("authorization.k8s.io", &["localsubjectaccessreviews"], &["create"]),
];

const DELETIONS: &[&str] = &["delete", "deletecollection"];

/// Why a rule would let its holder keep access, if it would. `accepted` are the writes that the role itself names.
pub fn persistence_risk(rule: &PolicyRule, accepted: &Accepted) -> Option<String> {
    let groups = rule.api_groups.as_deref().unwrap_or_default();
    let resources = rule.resources.as_deref().unwrap_or_default();
    let why = gives_another_way_in(rule, groups, resources);
    if let Some(why) = why {
        return Some(format!("{} ({why})", in_words(rule)));
    }
    let all = groups.iter().flat_map(|group| resources.iter().map(move |resource| (group, resource)));
    let mut writes = all.flat_map(|(group, resource)| rule.verbs.iter().map(move |verb| (verb, group, resource)));
    let write = writes.find(|(verb, group, resource)| {
        !READS.contains(&verb.as_str())
            && !ends_with_the_binding(verb, group, resource)
            && !accepted.has(verb, group, resource)
    });
    write.map(|(verb, group, resource)| {
        let kind = named(group, resource);
        format!(
            "{} (what {verb} of {kind} leaves behind may outlast the grant; to allow that, name it in the annotation {} of the \
             ClusterRole: \"{verb} {kind}\")",
            in_words(rule),
            Accepted::ANNOTATION
        )
    })
}

/// Why a rule gives another way in, whatever the role says of itself.
fn gives_another_way_in(rule: &PolicyRule, groups: &[String], resources: &[String]) -> Option<&'static str> {
    let has = |list: &[String], one: &str| list.iter().any(|listed| listed == one);
    let base = |wanted: &str| resources.iter().any(|named| named.split('/').next() == Some(wanted));
    let verb = |wanted: &str| has(&rule.verbs, wanted);
    if verb("*") || has(groups, "*") || resources.iter().any(|named| named.contains('*')) {
        return Some("a wildcard also allows what is added later");
    }
    if verb("bind") || verb("escalate") || rule.verbs.iter().any(|verb| verb.starts_with("impersonate")) {
        return Some("it gives permissions, or another identity");
    }
    let writes = !rule.verbs.iter().all(|verb| READS.contains(&verb.as_str()));
    if has(groups, "") && base("secrets") {
        return Some("a Secret that was read is kept");
    }
    if has(groups, "") && has(resources, "serviceaccounts/token") {
        return Some("a token outlives the grant");
    }
    if has(groups, "") && (base("serviceaccounts") || base("namespaces") || base("nodes")) && writes {
        return Some("accounts, namespaces and nodes outlive the grant");
    }
    let by_group = |(group, why): &(&str, &'static str)| (has(groups, group) && writes).then_some(*why);
    WAYS_IN.iter().find_map(by_group)
}

/// Groups in which every write gives another way in, and why.
const WAYS_IN: [(&str, &str); 18] = [
    ("rbac.authorization.k8s.io", "a binding outlives the grant"),
    ("cloister.dev", "it writes objects by which Cloister decides"),
    ("networking.k8s.io", "a policy outlives the grant"),
    ("policy.networking.k8s.io", "a policy outlives the grant"),
    ("cilium.io", "a policy outlives the grant"),
    ("projectcalico.org", "a policy outlives the grant"),
    ("crd.projectcalico.org", "a policy outlives the grant"),
    ("crd.antrea.io", "a policy outlives the grant"),
    ("discovery.k8s.io", "an EndpointSlice leads the traffic of others elsewhere, and outlives the grant"),
    ("gateway.networking.k8s.io", "a route outlives the grant"),
    ("external-secrets.io", "it fetches credentials, and what it fetched outlives the grant"),
    ("generators.external-secrets.io", "it fetches credentials, and what it fetched outlives the grant"),
    ("secrets-store.csi.x-k8s.io", "it fetches credentials, and what it fetched outlives the grant"),
    ("admissionregistration.k8s.io", "it changes what is admitted"),
    ("apiextensions.k8s.io", "it changes what is admitted"),
    ("certificates.k8s.io", "a certificate outlives the grant"),
    ("cert-manager.io", "a certificate outlives the grant"),
    ("authentication.k8s.io", "a token outlives the grant"),
];

fn ends_with_the_binding(verb: &str, group: &str, resource: &str) -> bool {
    ENDS_WITH_THE_BINDING.iter().any(|(in_group, resources, verbs)| {
        *in_group == group && resources.contains(&resource) && verbs.contains(&verb)
    })
}

/// The writes that a role names as accepted, as `patch deployments.apps`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted(BTreeSet<String>);

impl Accepted {
    /// The annotation of a ClusterRole that names them, parted by commas.
    pub const ANNOTATION: &str = cloister_api::labels::MAY_OUTLAST_GRANT;

    /// What an annotation names.
    pub fn read(annotation: &str) -> Self {
        let words = |write: &str| write.split_whitespace().collect::<Vec<_>>().join(" ");
        Accepted(annotation.split(',').map(words).filter(|write| !write.is_empty()).collect())
    }

    fn has(&self, verb: &str, group: &str, resource: &str) -> bool {
        self.0.contains(&format!("{verb} {}", named(group, resource)))
    }
}

/// A resource as kubectl names it: with its group, where it has one.
fn named(group: &str, resource: &str) -> String {
    match (group, resource.split_once('/')) {
        ("", _) => resource.to_owned(),
        (group, Some((base, subresource))) => format!("{base}.{group}/{subresource}"),
        (group, None) => format!("{resource}.{group}"),
    }
}

fn in_words(rule: &PolicyRule) -> String {
    let groups = rule.api_groups.as_deref().unwrap_or_default();
    let groups = match groups {
        [core] if core.is_empty() => "the core group".to_owned(),
        _ => {
            let named = groups.iter().map(|group| if group.is_empty() { "the core group" } else { group });
            format!("groups [{}]", named.collect::<Vec<_>>().join(","))
        }
    };
    let (verbs, resources) = (rule.verbs.join(","), rule.resources.as_deref().unwrap_or_default().join(","));
    format!("verbs [{verbs}] on resources [{resources}] of {groups}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lasts(group: &str, resource: &str, verb: &str, accepted: &str) -> bool {
        let rule = json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]});
        persistence_risk(&serde_json::from_value(rule).unwrap(), &Accepted::read(accepted)).is_some()
    }

    #[test]
    fn reads_end_with_the_binding_but_for_those_of_secrets() {
        for (group, resource) in
            [("", "pods"), ("apps", "deployments"), ("example.com", "things"), (OURS, "grantmounts")]
        {
            for verb in READS {
                assert!(!lasts(group, resource, verb, ""), "{verb} {resource}");
                assert!(lasts("", "secrets", verb, ""));
            }
        }
    }

    const OURS: &str = "cloister.dev";

    #[test]
    fn only_writes_of_the_list_end_with_the_binding() {
        let kinds = [
            ("", "pods"),
            ("", "pods/exec"),
            ("", "pods/attach"),
            ("", "pods/portforward"),
            ("", "pods/proxy"),
            ("", "pods/log"),
            ("", "pods/ephemeralcontainers"),
            ("", "pods/resize"),
            ("", "pods/binding"),
            ("", "pods/eviction"),
            ("", "pods/status"),
            ("", "bindings"),
            ("", "configmaps"),
            ("", "endpoints"),
            ("", "events"),
            ("", "limitranges"),
            ("", "namespaces"),
            ("", "nodes"),
            ("", "nodes/proxy"),
            ("", "persistentvolumeclaims"),
            ("", "persistentvolumes"),
            ("", "podtemplates"),
            ("", "replicationcontrollers"),
            ("", "replicationcontrollers/scale"),
            ("", "resourcequotas"),
            ("", "secrets"),
            ("", "serviceaccounts"),
            ("", "serviceaccounts/token"),
            ("", "services"),
            ("", "services/proxy"),
            ("", "services/status"),
            ("apps", "deployments"),
            ("apps", "deployments/scale"),
            ("apps", "daemonsets"),
            ("apps", "replicasets"),
            ("apps", "statefulsets"),
            ("apps", "controllerrevisions"),
            ("batch", "jobs"),
            ("batch", "cronjobs"),
            ("autoscaling", "horizontalpodautoscalers"),
            ("discovery.k8s.io", "endpointslices"),
            ("networking.k8s.io", "ingresses"),
            ("networking.k8s.io", "networkpolicies"),
            ("policy", "poddisruptionbudgets"),
            ("policy", "podsecuritypolicies"),
            ("rbac.authorization.k8s.io", "roles"),
            ("rbac.authorization.k8s.io", "rolebindings"),
            ("resource.k8s.io", "resourceclaims"),
            ("storage.k8s.io", "volumeattachments"),
            ("scheduling.k8s.io", "priorityclasses"),
            ("snapshot.storage.k8s.io", "volumesnapshots"),
            ("gateway.networking.k8s.io", "httproutes"),
            ("external-secrets.io", "externalsecrets"),
            ("secrets-store.csi.x-k8s.io", "secretproviderclasses"),
            ("cert-manager.io", "certificates"),
            ("certificates.k8s.io", "certificatesigningrequests"),
            ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
            ("coordination.k8s.io", "leases"),
            ("kubeflow.org", "notebooks"),
            ("example.com", "things"),
            (OURS, "rolegrants"),
            ("authorization.k8s.io", "localsubjectaccessreviews"),
            ("authentication.k8s.io", "tokenreviews"),
        ];
        let verbs = [
            "create",
            "update",
            "patch",
            "delete",
            "deletecollection",
            "use",
            "bind",
            "impersonate",
            "approve",
            "sign",
            "*",
        ];
        let mut ends: Vec<String> = Vec::new();
        for (group, resource) in kinds {
            for verb in verbs.into_iter().filter(|verb| !lasts(group, resource, verb, "")) {
                ends.push(format!("{verb} {}", named(group, resource)));
            }
        }
        let all = [
            "delete pods",
            "deletecollection pods",
            "create pods/exec",
            "create pods/attach",
            "create pods/portforward",
            "create pods/proxy",
            "create pods/eviction",
            "delete configmaps",
            "deletecollection configmaps",
            "delete events",
            "deletecollection events",
            "delete persistentvolumeclaims",
            "deletecollection persistentvolumeclaims",
            "delete services",
            "deletecollection services",
            "create services/proxy",
            "delete deployments.apps",
            "deletecollection deployments.apps",
            "update deployments.apps/scale",
            "patch deployments.apps/scale",
            "delete daemonsets.apps",
            "deletecollection daemonsets.apps",
            "delete replicasets.apps",
            "deletecollection replicasets.apps",
            "delete statefulsets.apps",
            "deletecollection statefulsets.apps",
            "delete jobs.batch",
            "deletecollection jobs.batch",
            "delete cronjobs.batch",
            "deletecollection cronjobs.batch",
            "delete horizontalpodautoscalers.autoscaling",
            "deletecollection horizontalpodautoscalers.autoscaling",
            "create localsubjectaccessreviews.authorization.k8s.io",
        ];
        assert_eq!(ends, all);
    }

    #[test]
    fn a_role_accepts_the_writes_that_it_names_and_no_others() {
        let accepted = " patch  deployments.apps ,create notebooks.kubeflow.org, update pods/resize";
        assert!(!lasts("apps", "deployments", "patch", accepted));
        assert!(!lasts("kubeflow.org", "notebooks", "create", accepted));
        assert!(!lasts("", "pods/resize", "update", accepted));
        assert!(lasts("apps", "deployments", "update", accepted));
        assert!(lasts("", "deployments", "patch", accepted));
        assert!(lasts("kubeflow.org", "notebooks", "patch", accepted));
    }

    #[test]
    fn what_gives_another_way_in_is_accepted_by_nobody() {
        for (group, resource, verb) in [
            ("", "secrets", "get"),
            ("", "serviceaccounts/token", "create"),
            ("", "serviceaccounts", "patch"),
            ("", "users", "impersonate"),
            ("rbac.authorization.k8s.io", "rolebindings", "create"),
            ("rbac.authorization.k8s.io", "clusterroles", "bind"),
            ("discovery.k8s.io", "endpointslices", "patch"),
            ("external-secrets.io", "externalsecrets", "create"),
            (OURS, "accessreviews", "create"),
        ] {
            assert!(lasts(group, resource, verb, &format!("{verb} {}", named(group, resource))), "{verb} {resource}");
        }
    }
}
