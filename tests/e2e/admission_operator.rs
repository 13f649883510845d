//! What a stolen token of the operator cannot do. RBAC would let it through in nearly all of these.

use crate::support::*;
use anyhow::{Context, Result};
use cloister_api::{GrantMount, labels};
use cloister_tests::{assert_denied, cluster, unique};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, Pod, ResourceQuota, Secret, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use kube::Api;
use kube::api::Patch;
use serde_json::{Value, json};

#[tokio::test]
async fn it_writes_nothing_outside_research_namespaces() -> Result<()> {
    const POLICY: &str = "operator-objects.cloister.dev";
    let (admin, o) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let plain = plain_namespace(&admin, "plain").await?;
    Api::<Pod>::namespaced(admin, &plain).create(&create(), &pod("pod", "default")).await?;
    let named = |name: &str, rest: Value| {
        let mut json = json!({"metadata": {"name": name}});
        json_merge(&mut json, &rest);
        json
    };
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:viewer"});
    let mount = json!({"spec": {"serviceAccountName": "a", "secretName": "cloister-grant-s.r.a", "volumeName": "cloister-v", "mountPath": "/v"}});
    for ns in [plain.as_str(), "kube-system", "cloister-system", "cloister-credentials"] {
        let o = || o.clone();
        let secret = object::<Secret>(named("cloister-grant-s.r.a", json!({})));
        assert_denied(Api::namespaced(o(), ns).create(&dry_run(), &secret).await, POLICY);
        let policy = object::<NetworkPolicy>(named("cloister-x", json!({"spec": {"podSelector": {}}})));
        assert_denied(Api::namespaced(o(), ns).create(&dry_run(), &policy).await, POLICY);
        let binding = object::<RoleBinding>(named("cloister-viewers", json!({"roleRef": role_ref})));
        assert_denied(Api::namespaced(o(), ns).create(&dry_run(), &binding).await, POLICY);
        let quota = object::<ResourceQuota>(named("cloister", json!({})));
        assert_denied(Api::namespaced(o(), ns).create(&dry_run(), &quota).await, POLICY);
        let range = object::<LimitRange>(named("cloister", json!({"spec": {"limits": []}})));
        assert_denied(Api::namespaced(o(), ns).create(&dry_run(), &range).await, POLICY);
        let account = object::<ServiceAccount>(named("trainer", json!({})));
        assert_denied(Api::namespaced(o(), ns).create(&dry_run(), &account).await, POLICY);
        let account: Api<ServiceAccount> = Api::namespaced(o(), ns);
        assert_denied(merge(&account, "default", json!({"imagePullSecrets": []})).await, POLICY);
        assert_denied(account.delete("default", &delete()).await, POLICY);
        let mount = object::<GrantMount>(named("s.r.a", json_with_type(mount.clone())));
        assert_denied(Api::namespaced(o(), ns).create(&dry_run(), &mount).await, POLICY);
    }
    assert_denied(Api::<Pod>::namespaced(o, &plain).delete("pod", &delete()).await, POLICY);
    Ok(())
}

fn json_with_type(mut mount: Value) -> Value {
    json_merge(&mut mount, &json!({"apiVersion": "cloister.dev/v1alpha1", "kind": "GrantMount"}));
    mount
}

#[tokio::test]
async fn it_makes_and_takes_research_namespaces_only() -> Result<()> {
    const POLICY: &str = "operator-namespaces.cloister.dev";
    let (admin, o) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let own: Api<Namespace> = Api::all(o.clone());
    let theirs: Api<Namespace> = Api::all(admin.clone());
    let make = |name: &str, labels: Value| object::<Namespace>(json!({"metadata": {"name": name, "labels": labels}}));

    let name = unique("made");
    assert_denied(own.create(&dry_run(), &make(&name, json!({}))).await, POLICY);
    assert_denied(own.create(&dry_run(), &make(&name, namespace_labels("other"))).await, POLICY);
    own.create(&dry_run(), &make(&name, namespace_labels(&name))).await?;
    for (key, value) in [
        ("enforce", json!("privileged")),
        ("enforce", json!("baseline")),
        ("enforce-version", json!("v1.20")),
        ("enforce", json!(null)),
    ] {
        let mut lax = namespace_labels(&name);
        json_merge(&mut lax, &json!({format!("pod-security.kubernetes.io/{key}"): value}));
        assert_denied(own.create(&dry_run(), &make(&name, lax)).await, POLICY);
    }
    let system = "kube-mine";
    assert_denied(own.create(&dry_run(), &make(system, json!({labels::RESEARCH_NAMESPACE: system}))).await, POLICY);

    // It takes over no namespace that is there, system or not, unless its people say so.
    let plain = plain_namespace(&admin, "plain").await?;
    for name in [plain.as_str(), "kube-system", "default", "cloister-system", "cloister-credentials"] {
        let labels = json!({"metadata": {"labels": namespace_labels(name)}});
        assert_denied(merge(&own, name, labels).await, POLICY);
    }
    // Kubernetes itself keeps some from being deleted.
    for name in [plain.as_str(), "cloister-system", "cloister-credentials"] {
        assert_denied(own.delete(name, &delete()).await, POLICY);
    }
    let adopt = |value: &str| json!({"metadata": {"annotations": {labels::ADOPT: value}}});
    merge(&theirs, &plain, adopt("other")).await?;
    assert_denied(merge(&own, &plain, json!({"metadata": {"labels": namespace_labels(&plain)}})).await, POLICY);
    merge(&theirs, "kube-public", adopt("kube-public")).await?;
    assert_denied(
        merge(&own, "kube-public", json!({"metadata": {"labels": namespace_labels("kube-public")}})).await,
        POLICY,
    );
    merge(&theirs, "kube-public", json!({"metadata": {"annotations": {labels::ADOPT: null}}})).await?;
    merge(&theirs, &plain, adopt(&plain)).await?;
    assert_denied(own.delete(&plain, &delete()).await, POLICY);
    merge(&own, &plain, json!({"metadata": {"labels": namespace_labels(&plain)}})).await?;

    // What it has, it cannot let out of the policies.
    let unlabelled = json!({"metadata": {"labels": {labels::RESEARCH_NAMESPACE: null}}});
    assert_denied(merge(&own, &plain, unlabelled).await, POLICY);
    own.delete(&plain, &delete()).await?;
    wait_until_gone(&admin, &plain).await
}

#[tokio::test]
async fn it_writes_credentials_only_under_their_names() -> Result<()> {
    const POLICY: &str = "operator-secrets.cloister.dev";
    let (admin, o) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&o, "secrets").await?;
    let theirs: Api<Secret> = Api::namespaced(admin, &ns);
    let own: Api<Secret> = Api::namespaced(o, &ns);
    let secret = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
    theirs.create(&create(), &object(secret("mine"))).await?;

    assert_denied(own.create(&create(), &object(secret("any"))).await, POLICY);
    assert_denied(merge(&own, "mine", json!({"stringData": {"k": "v"}})).await, POLICY);
    assert_denied(own.delete("mine", &delete()).await, POLICY);
    let mut token = secret("cloister-grant-s.r.default");
    token["type"] = json!("kubernetes.io/service-account-token");
    token["metadata"]["annotations"] = json!({"kubernetes.io/service-account.name": "default"});
    assert_denied(own.create(&create(), &object(token)).await, POLICY);

    // It never reads one, and what it writes tells it nothing back that it did not write.
    let name = "cloister-grant-s.r.trainer";
    own.patch(name, &apply(), &Patch::Apply(secret(name))).await?;
    assert!(matches!(own.get(name).await, Err(kube::Error::Api(status)) if status.is_forbidden()));
    own.delete(name, &delete()).await?;
    assert!(theirs.get_opt(name).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn it_mounts_nothing_but_credentials() -> Result<()> {
    const POLICY: &str = "operator-grantmounts.cloister.dev";
    let o = cluster().await.operator().await?;
    let ns = research_namespace(&o, "mounts").await?;
    let own: Api<GrantMount> = Api::namespaced(o, &ns);
    let mount = |secret: &str| {
        let spec = json!({"serviceAccountName": "trainer", "secretName": secret, "volumeName": "cloister-v", "mountPath": "/v"});
        object::<GrantMount>(json_with_type(json!({"metadata": {"name": "s.r.trainer"}, "spec": spec})))
    };
    for secret in ["mine", "cloister-grant-trainer", "cloister-grant-s.r.other", "cloister-grant-s.r.x.trainer"] {
        assert_denied(own.create(&dry_run(), &mount(secret)).await, POLICY);
    }
    own.create(&create(), &mount("cloister-grant-s.r.trainer")).await?;
    assert_denied(merge(&own, "s.r.trainer", json!({"spec": {"secretName": "mine"}})).await, POLICY);

    // Of one name, with one Secret.
    let mut other = mount("cloister-grant-s.r.trainer");
    other.metadata.name = Some("other.r.trainer".into());
    assert_denied(own.create(&dry_run(), &other).await, POLICY);
    let mut elsewhere = mount("cloister-grant-s.r.trainer");
    elsewhere.spec.volume_name = "kube-api-access".into();
    assert_denied(own.create(&dry_run(), &elsewhere).await, POLICY);

    // Where it is mounted changes only while it is put into no pod.
    let (version, path) = (
        |version: &str| json!({"metadata": {"annotations": {"cloister.dev/credential-version": version}}}),
        |path: &str| json!({"spec": {"mountPath": path}}),
    );
    merge(&own, "s.r.trainer", path("/w")).await?;
    merge(&own, "s.r.trainer", version("7")).await?;
    assert_denied(merge(&own, "s.r.trainer", path("/usr/bin")).await, POLICY);
    merge(&own, "s.r.trainer", version("")).await?;
    merge(&own, "s.r.trainer", path("/x")).await?;
    for path in ["/", "/usr/../etc", "x", "/x/"] {
        let mut nowhere = mount("cloister-grant-s.r.trainer");
        nowhere.metadata.name = Some("t.r.trainer".into());
        nowhere.spec.secret_name = "cloister-grant-t.r.trainer".into();
        nowhere.spec.mount_path = path.into();
        let refused = own.create(&dry_run(), &nowhere).await;
        assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 422), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn it_binds_people_and_accounts_of_the_namespace() -> Result<()> {
    const POLICY: &str = "operator-rolebindings.cloister.dev";
    let o = cluster().await.operator().await?;
    let ns = research_namespace(&o, "bindings").await?;
    let own: Api<RoleBinding> = Api::namespaced(o, &ns);
    let binding = |name: &str, kind: &str, role: &str, subject: Value| {
        let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role});
        object::<RoleBinding>(json!({"metadata": {"name": name}, "roleRef": role_ref, "subjects": [subject]}))
    };
    let user = |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
    let group = |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name});
    let account = |namespace: &str| json!({"kind": "ServiceAccount", "namespace": namespace, "name": "trainer"});
    let viewer = |subject: Value| binding("cloister-viewers", "ClusterRole", "cloister:viewer", subject);

    for refused in [
        viewer(group("system:authenticated")),
        viewer(group("system:serviceaccounts")),
        viewer(user("system:anonymous")),
        viewer(user("system:serviceaccount:kube-system:x")),
        viewer(account("kube-system")),
        binding("other", "ClusterRole", "cloister:viewer", user("alice")),
    ] {
        assert_denied(own.create(&dry_run(), &refused).await, POLICY);
    }
    for allowed in [viewer(user("alice")), viewer(group("researchers")), viewer(account(&ns))] {
        own.create(&dry_run(), &allowed).await?;
    }
    // RBAC itself refuses what is not in the list of `bind`, before the policies are asked.
    for (kind, role) in [
        ("ClusterRole", "cluster-admin"),
        ("ClusterRole", "edit"),
        ("ClusterRole", "cloister:operator"),
        ("Role", "any"),
    ] {
        assert!(own.create(&dry_run(), &binding("cloister-x", kind, role, user("alice"))).await.is_err(), "{role}");
    }
    Ok(())
}

/// What a grant opened ends with it: it has the grant's name, its labels and its owner.
fn of_grant(kind: &str, prefix: &str, name: &str) -> Value {
    json!({
        "name": format!("{prefix}.{name}"),
        "labels": {labels::MANAGED_BY: labels::MANAGER, labels::GRANT: name, labels::GRANT_KIND: kind},
        "ownerReferences": [{
            "apiVersion": "cloister.dev/v1alpha1", "kind": kind, "name": name, "uid": "a3c1f3a0-0000-4000-8000-000000000000",
        }],
    })
}

/// Ways to break that.
fn not_of_grant(good: &Value) -> Vec<Value> {
    let owner = &good["ownerReferences"][0];
    let with = |change: Value| {
        let mut metadata = good.clone();
        json_merge(&mut metadata, &change);
        metadata
    };
    let owned = |change: Value| {
        let mut owner = owner.clone();
        json_merge(&mut owner, &change);
        with(json!({"ownerReferences": [owner]}))
    };
    vec![
        with(json!({"labels": null})),
        with(json!({"labels": {labels::GRANT: "other"}})),
        with(json!({"labels": {labels::GRANT: null}})),
        with(json!({"labels": {labels::GRANT_KIND: "SecurityException"}})),
        with(json!({"labels": {labels::GRANT_KIND: null}})),
        with(json!({"ownerReferences": null})),
        owned(json!({"apiVersion": "v1"})),
        owned(json!({"kind": "ConfigMap"})),
        owned(json!({"name": "other"})),
        with(
            json!({"ownerReferences": [owner, {"apiVersion": "v1", "kind": "ConfigMap", "name": "kept", "uid": "u"}]}),
        ),
    ]
}

#[tokio::test]
async fn it_binds_by_the_names_of_members_and_grants() -> Result<()> {
    const POLICY: &str = "operator-rolebindings.cloister.dev";
    let o = cluster().await.operator().await?;
    let ns = research_namespace(&o, "bindings").await?;
    let own: Api<RoleBinding> = Api::namespaced(o, &ns);
    let binding = |metadata: &Value, role: &str| {
        let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
        let alice = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"});
        object::<RoleBinding>(json!({"metadata": metadata, "roleRef": role_ref, "subjects": [alice]}))
    };
    for (name, role) in [("owners", "owner"), ("researchers", "researcher"), ("viewers", "viewer")] {
        let metadata = json!({"name": format!("cloister-{name}")});
        own.create(&dry_run(), &binding(&metadata, &format!("cloister:{role}"))).await?;
        assert_denied(own.create(&dry_run(), &binding(&metadata, "cloister:debugger")).await, POLICY);
    }
    assert_denied(
        own.create(&dry_run(), &binding(&json!({"name": "cloister-viewers"}), "cloister:owner")).await,
        POLICY,
    );
    assert_denied(
        own.create(&dry_run(), &binding(&json!({"name": "cloister-other"}), "cloister:viewer")).await,
        POLICY,
    );

    for (kind, prefix, role) in [
        ("StorageAccessGrant", "cloister-grant", "cloister:storage-reader"),
        ("RoleGrant", "cloister-role-grant", "cloister:debugger"),
    ] {
        let good = of_grant(kind, prefix, "run");
        own.create(&dry_run(), &binding(&good, role)).await?;
        for bad in not_of_grant(&good) {
            assert_denied(own.create(&dry_run(), &binding(&bad, role)).await, POLICY);
        }
        // The garbage collector would take it at once: its owner is not there. What stands is held to the same.
        let mut kept = good.clone();
        kept["name"] = json!("cloister-other.run");
        assert_denied(own.create(&dry_run(), &binding(&kept, role)).await, POLICY);
        let wrong_kind = of_grant("EgressGrant", prefix, "run");
        assert_denied(own.create(&dry_run(), &binding(&wrong_kind, role)).await, POLICY);
    }
    // RBAC lets it bind a role that allows no more than its own does; it is not in its list all the same.
    let harmless = unique("harmless");
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    let role: ClusterRole = object(json!({"metadata": {"name": harmless}, "rules": rules}));
    Api::all(cluster().await.admin().await?).create(&create(), &role).await?;
    let unlisted = binding(&of_grant("RoleGrant", "cloister-role-grant", "run"), &harmless);
    assert_denied(own.create(&dry_run(), &unlisted).await, POLICY);

    own.create(&create(), &binding(&json!({"name": "cloister-viewers"}), "cloister:viewer")).await?;
    let labelled = json!({"metadata": {"labels": {labels::GRANT: "run", labels::GRANT_KIND: "RoleGrant"}}});
    assert_denied(merge(&own, "cloister-viewers", labelled).await, POLICY);
    Ok(())
}

/// A binding that was made with a stolen token ends as soon as it is seen: there is no such grant.
#[tokio::test]
async fn a_binding_without_its_grant_is_collected() -> Result<()> {
    let (admin, o) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&o, "orphan").await?;
    let own: Api<RoleBinding> = Api::namespaced(o, &ns);
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:debugger"});
    let binding = |metadata: Value| object::<RoleBinding>(json!({"metadata": metadata, "roleRef": role_ref}));
    own.create(&create(), &binding(of_grant("RoleGrant", "cloister-role-grant", "run"))).await?;
    let theirs: Api<RoleBinding> = Api::namespaced(admin, &ns);
    cloister_tests::eventually("the binding to be collected", async || {
        anyhow::ensure!(theirs.get_opt("cloister-role-grant.run").await?.is_none());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn it_opens_policies_by_the_names_of_grants() -> Result<()> {
    const POLICY: &str = "operator-networkpolicies.cloister.dev";
    let o = cluster().await.operator().await?;
    let ns = research_namespace(&o, "opened").await?;
    let own: Api<NetworkPolicy> = Api::namespaced(o, &ns);
    let to = json!([{"ipBlock": {"cidr": "203.0.113.0/24"}}]);
    let policy = |metadata: &Value| {
        object::<NetworkPolicy>(json!({"metadata": metadata, "spec": {"podSelector": {}, "egress": [{"to": to}]}}))
    };
    for (kind, prefix) in [("StorageAccessGrant", "cloister-grant"), ("EgressGrant", "cloister-egress-grant")] {
        let good = of_grant(kind, prefix, "run");
        own.create(&dry_run(), &policy(&good)).await?;
        for bad in not_of_grant(&good) {
            assert_denied(own.create(&dry_run(), &policy(&bad)).await, POLICY);
        }
        let mut other = good.clone();
        other["name"] = json!("cloister-other");
        assert_denied(own.create(&dry_run(), &policy(&other)).await, POLICY);
        assert_denied(own.create(&dry_run(), &policy(&of_grant("RoleGrant", prefix, "run"))).await, POLICY);
    }
    own.create(&dry_run(), &policy(&json!({"name": "cloister-allow.lab.ssh"}))).await?;
    Ok(())
}

#[tokio::test]
async fn it_opens_no_policy_to_everything() -> Result<()> {
    const POLICY: &str = "operator-networkpolicies.cloister.dev";
    let (admin, o) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = plain_namespace(&admin, "adopted").await?;
    let foreign: NetworkPolicy =
        object(json!({"metadata": {"name": "foreign"}, "spec": {"podSelector": {}, "egress": [{}]}}));
    Api::namespaced(admin.clone(), &ns).create(&create(), &foreign).await?;
    adopt(&admin, &o, &ns).await?;

    let own: Api<NetworkPolicy> = Api::namespaced(o, &ns);
    let policy = |name: &str, rules: Value| {
        let mut spec = json!({"podSelector": {}});
        json_merge(&mut spec, &rules);
        object::<NetworkPolicy>(json!({"metadata": {"name": name}, "spec": spec}))
    };
    let ports = json!([{"port": 443, "protocol": "TCP"}]);
    let block = |cidr: &str| json!({"ipBlock": {"cidr": cidr}});
    let narrow = json!({"egress": [{"to": [block("203.0.113.0/24")], "ports": ports}], "ingress": [{"from": [{"podSelector": {}}]}]});
    // The label of an adopted namespace takes a moment to be seen.
    cloister_tests::eventually("the label to be seen", async || {
        Ok(own.create(&dry_run(), &policy("cloister-x", narrow.clone())).await?)
    })
    .await?;
    for open in [
        json!({"egress": [{}]}),
        json!({"egress": [{"ports": ports}]}),
        json!({"egress": [{"to": [block("203.0.113.0/24")]}, {"to": []}]}),
        json!({"ingress": [{}]}),
        json!({"ingress": [{"from": [], "ports": ports}]}),
        json!({"egress": [{"to": [block("0.0.0.0/0")]}]}),
        json!({"egress": [{"to": [block("203.0.113.0/24"), block("::/0")]}]}),
        json!({"ingress": [{"from": [block("0.0.0.0/0")]}]}),
    ] {
        assert_denied(own.create(&dry_run(), &policy("cloister-x", open)).await, POLICY);
    }
    // IPv6 that stands for IPv4 is as wide as that.
    let egress = |cidrs: &[String]| {
        let to: Vec<Value> = cidrs.iter().map(|cidr| block(cidr)).collect();
        policy("cloister-x", json!({"egress": [{"to": to}]}))
    };
    for (cidr, is_narrow) in [
        ("64:ff9b::/96", false),
        ("64:ff9b::/95", false),
        ("64:ff9b::/32", false),
        ("64::/16", false),
        ("64:ff9b::c000:0/103", false),
        ("64:ff9b::cb00:0/104", true),
        ("64:ff9b::cb00:7100/120", true),
        ("64:ff9b:1::/48", false),
        ("64:ff9b:1:7::/64", false),
        ("2002::/16", false),
        ("2002:ca00::/23", false),
        ("2002:cb00::/24", true),
        ("2002:cb00:7100::/40", true),
        ("2001::/32", false),
        ("2001::/16", false),
        ("2001:0:1234::/48", false),
        ("::/96", false),
        ("::a00:0/104", false),
        ("2001:db8::/32", true),
        ("2600::/16", true),
        ("2600::/15", false),
        ("fd00::/16", true),
    ] {
        let answer = own.create(&dry_run(), &egress(&[cidr.to_owned()])).await;
        if is_narrow {
            answer.with_context(|| format!("{cidr} is refused"))?;
        } else {
            assert!(answer.is_err(), "{cidr} is written");
            assert_denied(answer, POLICY);
        }
    }
    let many: Vec<String> = (32..49).map(|first| format!("64:ff9b::{first:x}00:0/104")).collect();
    assert_denied(own.create(&dry_run(), &egress(&many)).await, POLICY);
    own.create(&dry_run(), &egress(&many[1..])).await?;
    // As many addresses as one rule can have.
    let hosts: Vec<String> = (0..4096).map(|host| format!("2600::{host:x}/128")).collect();
    own.create(&dry_run(), &egress(&hosts)).await?;
    assert_denied(own.create(&dry_run(), &policy("other", narrow)).await, POLICY);
    own.create(&dry_run(), &policy("cloister-deny", json!({"policyTypes": ["Ingress", "Egress"]}))).await?;
    // What stood there before would add to ours: it may go.
    own.delete("foreign", &delete()).await?;
    Ok(())
}

/// Where RBAC gives it more, by a mistake.
#[tokio::test]
async fn it_runs_no_pods_and_asks_for_no_tokens() -> Result<()> {
    const POLICY: &str = "operator-objects.cloister.dev";
    let (admin, o) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = plain_namespace(&admin, "mistake").await?;
    let mistake: RoleBinding = object(json!({
        "metadata": {"name": "mistake"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "cloister-system", "name": "cloister-operator"}],
    }));
    Api::namespaced(admin.clone(), &ns).create(&create(), &mistake).await?;
    Api::<Pod>::namespaced(admin.clone(), &ns).create(&create(), &pod("pod", "default")).await?;
    adopt(&admin, &o, &ns).await?;

    let pods: Api<Pod> = Api::namespaced(o.clone(), &ns);
    cloister_tests::eventually("its rights", async || {
        cloister_tests::denied(pods.create(&create(), &pod("mine", "default")).await, POLICY)
    })
    .await?;
    assert_denied(merge(&pods, "pod", json!({"metadata": {"labels": {"x": "y"}}})).await, POLICY);
    for subresource in ["status", "ephemeralcontainers", "resize"] {
        let change = json!({"metadata": {"labels": {"x": "y"}}});
        assert_denied(merge_at(&pods, subresource, "pod", change).await, POLICY);
    }
    for (path, kind, version) in [("pods/pod/binding", "Binding", "v1"), ("pods/pod/eviction", "Eviction", "policy/v1")]
    {
        let target = json!({"apiVersion": "v1", "kind": "Node", "name": "nowhere"});
        let body = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "pod"}, "target": target});
        let request = http_post(&format!("/api/v1/namespaces/{ns}/{path}"), body.to_string().into_bytes());
        assert_denied(o.request::<Value>(request).await, POLICY);
    }
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}});
    let request =
        http_post(&format!("/api/v1/namespaces/{ns}/serviceaccounts/default/token"), body.to_string().into_bytes());
    assert_denied(o.request::<Value>(request).await, POLICY);
    // A pod that holds a credential past its end is its to delete.
    pods.delete("pod", &delete()).await?;
    Ok(())
}
