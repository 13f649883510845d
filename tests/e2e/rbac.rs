use crate::support::*;
use anyhow::{Context, Result};
use cloister_api::labels;
use cloister_tests::{OPERATOR, assert_denied, cluster, eventually};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleBinding};
use kube::Api;
use kube::api::{DynamicObject, Patch};
use serde_json::{Value, json};
use xtask::cluster::workspace_root;
use xtask::install::load;

fn shipped(kind: &str) -> Result<Vec<DynamicObject>> {
    let all = load(&workspace_root()?.join("deploy/rbac"))?;
    Ok(all.into_iter().filter(|o| o.types.as_ref().is_some_and(|t| t.kind == kind)).collect())
}

fn rules(object: &DynamicObject) -> Result<Vec<PolicyRule>> {
    Ok(serde_json::from_value(object.data.get("rules").cloned().unwrap_or(json!([])))?)
}

#[test]
fn no_role_has_a_wildcard_or_a_way_up() -> Result<()> {
    for role in shipped("ClusterRole")?.iter().chain(&shipped("Role")?) {
        let name = role.metadata.name.as_deref().context("a name")?;
        for rule in rules(role)? {
            let all =
                [rule.api_groups.as_ref(), rule.resources.as_ref(), Some(&rule.verbs), rule.non_resource_urls.as_ref()];
            assert!(!all.into_iter().flatten().flatten().any(|s| s.contains('*')), "{name}: {rule:?}");
            assert!(!rule.verbs.iter().any(|v| v == "escalate" || v == "impersonate"), "{name}: {rule:?}");
            let binds = rule.verbs.iter().any(|v| v == "bind");
            assert!(!binds || rule.resource_names.as_ref().is_some_and(|names| !names.is_empty()), "{name}: {rule:?}");
        }
    }
    Ok(())
}

/// The roles that people get. What a RoleGrant binds is a way in, for its time, and nothing else.
#[test]
fn no_person_reads_secrets_or_writes_what_closes_a_namespace() -> Result<()> {
    for role in shipped("ClusterRole")?.iter().filter(|r| r.metadata.name.as_deref() != Some("cloister:operator")) {
        let name = role.metadata.name.as_deref().context("a name")?;
        let way_in = name == "cloister:debugger";
        for rule in rules(role)? {
            for resource in rule.resources.iter().flatten() {
                let never = [
                    "secrets",
                    "serviceaccounts/token",
                    "pods/exec",
                    "pods/attach",
                    "pods/portforward",
                    "pods/proxy",
                    "services/proxy",
                    "pods/ephemeralcontainers",
                    "pods/binding",
                    "nodes",
                    "users",
                    "groups",
                ];
                let way_in = way_in && ["pods/exec", "pods/portforward"].contains(&resource.as_str());
                assert!(way_in || !never.contains(&resource.as_str()), "{name}: {resource}");
                let read_only = [
                    "networkpolicies",
                    "roles",
                    "rolebindings",
                    "clusterroles",
                    "clusterrolebindings",
                    "namespaces",
                    "resourcequotas",
                    "limitranges",
                    "serviceaccounts",
                    "grantmounts",
                    "validatingadmissionpolicies",
                    "validatingadmissionpolicybindings",
                    "mutatingadmissionpolicies",
                    "mutatingadmissionpolicybindings",
                ];
                let reads = rule.verbs.iter().all(|v| ["get", "list", "watch"].contains(&v.as_str()));
                assert!(reads || !read_only.contains(&resource.as_str()), "{name}: {resource} {:?}", rule.verbs);
                assert!(!resource.ends_with("/status") || reads, "{name}: {resource}");
            }
        }
    }
    Ok(())
}

/// The kinds of ours that a role writes.
fn written(role: &DynamicObject) -> Result<Vec<String>> {
    let mut written = Vec::new();
    for rule in rules(role)? {
        if rule.api_groups.iter().flatten().any(|group| group == "cloister.dev") {
            let verbs = rule.verbs.iter().filter(|verb| !["get", "list", "watch"].contains(&verb.as_str()));
            let verbs = verbs.map(String::as_str).collect::<Vec<_>>().join(",");
            written
                .extend(rule.resources.iter().flatten().filter(|_| !verbs.is_empty()).map(|r| format!("{r} {verbs}")));
        }
    }
    written.sort();
    Ok(written)
}

/// Those who ask, those who decide, and those who say who decides are bound to different roles.
#[test]
fn each_role_writes_what_is_its_own() -> Result<()> {
    let asks = "create,patch,delete";
    let keeps = "create,update,patch,delete";
    let requests = [
        "accessreviews create".to_owned(),
        format!("egressgrants {asks}"),
        format!("rolegrants {asks}"),
        format!("storageaccessgrants {asks}"),
    ];
    let catalogue = ["accessroles", "egressallowlists", "researchnamespaces", "storageresources"];
    let policies = ["accesspolicies", "cloisterconfigs"];
    // Those of tools: whoever has this right may put them on and take them off.
    let finalizers = |kind: &&str| [format!("{kind} {keeps}"), format!("{kind}/finalizers update")];
    let kept = |kinds: &[&str]| kinds.iter().flat_map(finalizers).collect::<Vec<_>>();
    for role in shipped("ClusterRole")? {
        let expected = match role.metadata.name.as_deref().context("a name")? {
            "cloister:operator" => continue,
            "cloister:members:researcher" => requests.to_vec(),
            "cloister:approver" => vec!["accessreviews create".to_owned()],
            "cloister:catalogue-admin" => kept(&catalogue),
            "cloister:policy-admin" => kept(&policies),
            _ => Vec::new(),
        };
        assert_eq!(written(&role)?, expected, "{:?}", role.metadata.name);
    }
    Ok(())
}

/// A kind that somebody adds is not forgotten.
#[test]
fn the_auditor_and_the_operator_read_every_kind() -> Result<()> {
    let kinds: Vec<String> = load(&workspace_root()?.join("crds"))?
        .iter()
        .filter_map(|crd| Some(crd.data.pointer("/spec/names/plural")?.as_str()?.to_owned()))
        .collect();
    assert!(kinds.len() > 10);
    for role in shipped("ClusterRole")? {
        let name = role.metadata.name.clone().context("a name")?;
        if name != "cloister:auditor" && name != "cloister:operator" {
            continue;
        }
        let rules = rules(&role)?;
        for kind in &kinds {
            let read = rules.iter().any(|rule| {
                rule.resources.iter().flatten().any(|r| r == kind)
                    && ["get", "list", "watch"].iter().all(|verb| rule.verbs.iter().any(|v| v == verb))
            });
            assert!(read, "{name}: {kind}");
        }
    }
    Ok(())
}

/// `kubectl get events` and `kubectl describe` read Events in the core group, other tools in their own.
#[test]
fn the_auditor_reads_alarms_with_whatever_tool() -> Result<()> {
    let roles = shipped("ClusterRole")?;
    let role =
        roles.iter().find(|role| role.metadata.name.as_deref() == Some("cloister:auditor")).context("the role")?;
    let rules = rules(role)?;
    for group in ["", "events.k8s.io"] {
        let read = rules.iter().any(|rule| {
            rule.api_groups.iter().flatten().any(|one| one == group)
                && rule.resources.iter().flatten().any(|resource| resource == "events")
                && ["get", "list", "watch"].iter().all(|verb| rule.verbs.iter().any(|one| one == verb))
        });
        assert!(read, "events in {group:?}");
    }
    Ok(())
}

/// What messages and alarms send a person of security to look at. Of the Leases, it is the operator's alone.
#[test]
fn the_auditor_sees_what_alarms_send_there_and_no_secrets() -> Result<()> {
    const LOOKED_AT: [(&str, &str); 9] = [
        ("", "namespaces"),
        ("", "pods"),
        ("", "services"),
        ("", "serviceaccounts"),
        ("networking.k8s.io", "networkpolicies"),
        ("rbac.authorization.k8s.io", "roles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ];
    let roles = shipped("ClusterRole")?;
    let role =
        roles.iter().find(|role| role.metadata.name.as_deref() == Some("cloister:auditor")).context("the role")?;
    let rules = rules(role)?;
    let of = |group: &str, resource: &str| {
        let is_in = |all: &Option<Vec<String>>, one: &str| all.iter().flatten().any(|of| of == one);
        let found = rules.iter().filter(|rule| is_in(&rule.api_groups, group) && is_in(&rule.resources, resource));
        found.cloned().collect::<Vec<_>>()
    };
    let all = |rule: &PolicyRule, verbs: &[&str]| verbs.iter().all(|verb| rule.verbs.iter().any(|one| one == verb));
    for (group, resource) in LOOKED_AT {
        let sees = |rule: &PolicyRule| rule.resource_names.is_none() && all(rule, &["get", "list"]);
        assert!(of(group, resource).iter().any(sees), "{resource} of {group:?}");
    }
    let leases = of("coordination.k8s.io", "leases");
    let own = |rule: &PolicyRule| rule.resource_names.as_deref() == Some(&["cloister-operator".to_owned()]);
    assert!(leases.iter().any(|rule| own(rule) && all(rule, &["get"])) && leases.iter().all(own), "{leases:?}");
    for secret in ["secrets", "pods/log", "pods/exec", "*"] {
        assert_eq!(of("", secret), [], "{secret}");
    }
    Ok(())
}

/// A second identity that a tenant may take on would review what the first one asks. In a research namespace nobody but
/// the operator binds, and the operator binds what its own list names; elsewhere it is not Cloister's to refuse.
#[tokio::test]
async fn nobody_binds_impersonation_in_a_research_namespace() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "impersonate").await?;
    let impersonator: ClusterRole = object(json!({
        "metadata": {"name": ns},
        "rules": [{"apiGroups": [""], "resources": ["users", "groups", "serviceaccounts"], "verbs": ["impersonate"]}],
    }));
    Api::all(admin.clone()).create(&create(), &impersonator).await?;
    let binding = |name: &str| {
        object::<RoleBinding>(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ns},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}],
        }))
    };
    let (theirs, own): (Api<RoleBinding>, Api<RoleBinding>) =
        (Api::namespaced(admin.clone(), &ns), Api::namespaced(operator, &ns));
    assert_denied(theirs.create(&create(), &binding("alice")).await, "managed-objects.cloister.dev");
    assert_denied(theirs.create(&create(), &binding("cloister-viewers")).await, "managed-objects.cloister.dev");
    assert!(own.create(&create(), &binding("cloister-viewers")).await.is_err());
    // Nor may a binding that is there be pointed at it.
    let viewers = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "cloister-viewers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:viewer"},
    });
    own.patch("cloister-viewers", &apply(), &Patch::Apply(viewers)).await?;
    let mut replaced = binding("cloister-viewers");
    replaced.metadata.resource_version = own.get("cloister-viewers").await?.metadata.resource_version;
    assert!(theirs.replace("cloister-viewers", &create(), &replaced).await.is_err());

    let plain = plain_namespace(&admin, "plain").await?;
    Api::<RoleBinding>::namespaced(admin, &plain).create(&create(), &binding("alice")).await?;
    Ok(())
}

/// What the shipped roles are for, as the people see it who are bound to them.
#[tokio::test]
async fn people_do_what_their_roles_are_for() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "people").await?;
    let named = |who: &str| format!("{who}-{ns}");
    for role in ["approver", "reader"] {
        let binding: ClusterRoleBinding = object(json!({
            "metadata": {"name": named(role)},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("cloister:{role}")},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": named(role)}],
        }));
        Api::all(admin.clone()).create(&create(), &binding).await?;
    }
    for (name, role) in [("cloister-researchers", "researcher"), ("cloister-viewers", "viewer")] {
        let binding: RoleBinding = object(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("cloister:{role}")},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": named(role)}],
        }));
        Api::namespaced(operator.clone(), &ns).create(&create(), &binding).await?;
    }
    let who = async |role: &str| cluster().await.client_for(role, &[&named(role)]).await;
    let (approver, reader) = (who("approver").await?, who("reader").await?);
    let (researcher, viewer) = (who("researcher").await?, who("viewer").await?);
    let forbidden = |result: kube::Result<DynamicObject>| matches!(result, Err(kube::Error::Api(status)) if status.is_forbidden() && status.message.contains("cannot"));
    for kind in attested() {
        let json = kind.json("one");
        let is_review = kind.field == "reviewer";
        let (asks, decides) = (kind.api(&researcher, &ns), kind.api(&approver, &ns));
        eventually("their rights", async || Ok(asks.create(&create(), &object(json.clone())).await?)).await?;
        eventually("their rights", async || Ok(decides.get("one").await?)).await?;
        eventually("their rights", async || Ok(kind.api(&viewer, &ns).get("one").await?)).await?;
        assert_eq!(forbidden(decides.create(&dry_run(), &object(kind.json("two"))).await), !is_review);
        assert!(forbidden(kind.api(&viewer, &ns).create(&dry_run(), &object(kind.json("two"))).await));
        assert!(forbidden(kind.api(&reader, &ns).get("one").await), "the catalogue is not what people ask");
        // A request can be withdrawn; what was decided is on record.
        assert_eq!(asks.delete("one", &delete()).await.is_err(), is_review);
    }
    for kind in ["researchnamespaces", "egressallowlists", "storageresources", "accessroles", "accesspolicies"] {
        let list = || http::Request::get(format!("/apis/cloister.dev/v1alpha1/{kind}")).body(Vec::new());
        for client in [&approver, &reader] {
            eventually("their rights", async || Ok(client.request::<Value>(list()?).await?)).await?;
        }
        assert!(viewer.request::<Value>(list()?).await.is_err());
    }
    Ok(())
}

async fn may(attributes: Value) -> Result<bool> {
    let api: Api<SubjectAccessReview> = Api::all(cluster().await.admin().await?);
    let groups = ["system:serviceaccounts", "system:serviceaccounts:cloister-system", "system:authenticated"];
    let review = object(json!({"spec": {"user": OPERATOR, "groups": groups, "resourceAttributes": attributes}}));
    Ok(api.create(&create(), &review).await?.status.context("an answer")?.allowed)
}

#[tokio::test]
async fn the_operator_reads_secrets_in_one_namespace() -> Result<()> {
    for verb in ["get", "list", "watch"] {
        assert!(may(json!({"verb": verb, "resource": "secrets", "namespace": "cloister-credentials"})).await?);
        for namespace in ["", "default", "kube-system", "cloister-system"] {
            assert!(
                !may(json!({"verb": verb, "resource": "secrets", "namespace": namespace})).await?,
                "{verb} in {namespace:?}"
            );
        }
    }
    // It asks to delete them all at once, which admission never lets through, to be told whether there are some.
    assert!(!may(json!({"verb": "update", "resource": "secrets", "namespace": "default"})).await?);
    let rbac = "rbac.authorization.k8s.io";
    assert!(may(json!({"verb": "bind", "group": rbac, "resource": "clusterroles", "name": "cloister:viewer"})).await?);
    for (verb, name) in [("bind", "admin"), ("bind", ""), ("escalate", "cloister:viewer"), ("patch", "cloister:viewer")]
    {
        assert!(
            !may(json!({"verb": verb, "group": rbac, "resource": "clusterroles", "name": name})).await?,
            "{verb} {name}"
        );
    }
    assert!(
        may(json!({"verb": "bind", "group": rbac, "resource": "clusterroles", "name": "cloister:debugger"})).await?
    );
    // What it watches for is not its to write.
    for resource in ["clusterroles", "roles", "clusterrolebindings"] {
        assert!(may(json!({"verb": "watch", "group": rbac, "resource": resource})).await?);
        for verb in ["create", "update", "patch", "delete", "deletecollection"] {
            // A Role that calls itself Cloister's is deleted.
            let own = ["clusterroles", "clusterrolebindings"].contains(&resource)
                && ["create", "update", "delete"].contains(&verb);
            // Those of owners are its own; admission holds which those are.
            let expected = (verb, resource) == ("delete", "roles") || own;
            let allowed = may(json!({"verb": verb, "group": rbac, "resource": resource})).await?;
            assert_eq!(allowed, expected, "{verb} {resource}");
        }
    }
    for resource in ["accessreviews", "storageaccessgrants", "egressgrants", "rolegrants", "accessroles"] {
        for verb in ["create", "update", "delete", "deletecollection"] {
            // What has ended is deleted after a time of the platform's choosing; admission holds what else there is.
            let expected = verb == "delete" && resource != "accessroles";
            let allowed = may(json!({"verb": verb, "group": "cloister.dev", "resource": resource})).await?;
            assert_eq!(allowed, expected, "{verb} {resource}");
        }
    }
    let events = "events.k8s.io";
    for (verb, expected) in [("create", true), ("patch", true), ("get", false), ("delete", false)] {
        assert_eq!(
            may(json!({"verb": verb, "group": events, "resource": "events", "namespace": "default"})).await?,
            expected
        );
    }
    for resource in ["users", "groups", "serviceaccounts"] {
        assert!(!may(json!({"verb": "impersonate", "resource": resource})).await?, "{resource}");
    }
    let policies = "admissionregistration.k8s.io";
    assert!(!may(json!({"verb": "patch", "group": policies, "resource": "validatingadmissionpolicybindings"})).await?);
    Ok(())
}

/// Binding a role asks for `bind` alone: the operator holds none of what members get.
#[tokio::test]
async fn the_operator_binds_every_role_that_it_hands_out() -> Result<()> {
    let operator = cluster().await.operator().await?;
    let ns = research_namespace(&operator, "members").await?;
    let bindings: Api<RoleBinding> = Api::namespaced(operator, &ns);
    let of_grant = |prefix: &str, kind: &str| {
        let uid = "a3c1f3a0-0000-4000-8000-000000000000";
        json!({
            "name": format!("{prefix}.run"), "labels": {labels::GRANT: "run", labels::GRANT_KIND: kind},
            "ownerReferences": [{"apiVersion": "cloister.dev/v1alpha1", "kind": kind, "name": "run", "uid": uid}],
        })
    };
    for (role, metadata) in [
        ("owner", json!({"name": "cloister-owners"})),
        ("researcher", json!({"name": "cloister-researchers"})),
        ("viewer", json!({"name": "cloister-viewers"})),
        ("storage-reader", of_grant("cloister-grant", "StorageAccessGrant")),
        ("debugger", of_grant("cloister-role-grant", "RoleGrant")),
    ] {
        let name = metadata["name"].as_str().context("a name")?.to_owned();
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("cloister:{role}")},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}],
        });
        bindings.patch(&name, &apply(), &Patch::Apply(binding)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_example_of_a_storage_role_is_aggregated() -> Result<()> {
    let roles: Api<ClusterRole> = Api::all(cluster().await.admin().await?);
    cloister_tests::eventually("its rules", async || {
        let rules = roles.get("cloister:storage-reader").await?.rules.unwrap_or_default();
        anyhow::ensure!(!rules.is_empty());
        Ok(())
    })
    .await
}

/// The operator's Deployment must pass the Pod Security of its own namespace.
#[tokio::test]
async fn the_operator_would_be_admitted_to_its_namespace() -> Result<()> {
    let all = load(&workspace_root()?.join("deploy"))?;
    let deployment =
        all.iter().find(|o| o.types.as_ref().is_some_and(|t| t.kind == "Deployment")).context("a Deployment")?;
    let mut pod = deployment.data.pointer("/spec/template").context("a template")?.clone();
    pod["metadata"]["name"] = json!("operator");
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(cluster().await.admin().await?, "cloister-system");
    pods.create(&dry_run(), &object(pod)).await?;
    Ok(())
}
