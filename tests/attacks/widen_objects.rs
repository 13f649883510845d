//! What the operator keeps in a research namespace, written by others.

use crate::{
    ledger::attack,
    people::{Person, all_denied, all_forbidden},
    story::{Story, pod},
};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

const MANAGED: &str = "managed-objects.cloister.dev";
const ALONE: &str = "are written by Cloister alone";

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

fn mallory() -> Value {
    json!({"apiGroup": RBAC_GROUP, "kind": "User", "name": "mallory"})
}

/// The members, who have no rights, and somebody who has all.
async fn tenants<'a>(story: &Story<'a>) -> Result<Vec<Person<'a>>> {
    let mut people = Vec::new();
    for who in ["alice", "olga", "sam", "petra"] {
        people.push(story.person(who).await?);
    }
    Ok(people)
}

/// Nobody changes an object in any of these ways, nor deletes it.
async fn stands(story: &Story<'_>, what: &str, name: &str, changes: Vec<Value>, says: &str) -> Result<()> {
    let before = story.standing().await?;
    let selector = "?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dcloister";
    for change in &changes {
        for who in tenants(story).await? {
            all_forbidden(who.change(what, name, change.clone()).await).await?;
        }
        all_denied(story.root.change(what, name, change.clone()).await, MANAGED, says).await?;
    }
    for who in tenants(story).await? {
        who.delete(what, name).await.forbidden().await?;
        who.delete_all(what, selector).await.forbidden().await?;
    }
    story.root.delete(what, name).await.denied_by(MANAGED, says).await?;
    story.root.delete_all(what, selector).await.denied_by(MANAGED, says).await?;
    story.unchanged(&before).await
}

#[tokio::test]
async fn the_binding_of_a_grant_stays_as_it_is() -> Result<()> {
    let attack = attack("a grant's binding edited, relabelled, stripped of its owner, or deleted");
    let story = Story::new("binding").await?;
    story.opened("run", json!({})).await?;
    let changes = vec![
        json!({"subjects": [{"kind": "ServiceAccount", "name": "trainer", "namespace": story.name}, mallory()]}),
        json!({"metadata": {"labels": {"cloister.dev/grant": "other"}}}),
        json!({"metadata": {"labels": null}}),
        json!({"metadata": {"ownerReferences": null}}),
        json!({"metadata": {"finalizers": ["example.com/keep"]}}),
    ];
    stands(&story, "RoleBinding", "cloister-grant.run", changes, ALONE).await?;
    attack.held()
}

#[tokio::test]
async fn members_do_not_add_members() -> Result<()> {
    let attack = attack("the members' binding edited or deleted");
    let story = Story::new("members").await?;
    let changes = vec![json!({"subjects": [mallory()]}), json!({"metadata": {"labels": null}})];
    stands(&story, "RoleBinding", "cloister-researchers", changes, ALONE).await?;
    attack.held()
}

#[tokio::test]
async fn nobody_binds_beside_the_operator() -> Result<()> {
    let attack = attack("a second RoleBinding to the grant's ClusterRole, and a Role of one's own");
    let story = Story::new("second").await?;
    let before = story.standing().await?;
    let role = json!({"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]});
    for name in ["mine", "cloister-grant.mine", "cloister-viewers"] {
        for to in ["cloister:debugger", "cloister:storage-reader", "cluster-admin", "view"] {
            let binding = json!({
                "metadata": {"labels": {"app.kubernetes.io/managed-by": "cloister"}},
                "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": to}, "subjects": [mallory()],
            });
            for who in [story.person("alice").await?, story.person("olga").await?] {
                who.create("RoleBinding", name, binding.clone()).await.forbidden().await?;
                who.apply("RoleBinding", name, binding.clone()).await.forbidden().await?;
            }
            story.root.create("RoleBinding", name, binding.clone()).await.denied_by(MANAGED, ALONE).await?;
            story.root.apply("RoleBinding", name, binding.clone()).await.denied_by(MANAGED, ALONE).await?;
            story.root.generate("RoleBinding", "mine-", binding).await.denied_by(MANAGED, ALONE).await?;
        }
        story.person("olga").await?.create("Role", name, role.clone()).await.forbidden().await?;
        story.root.create("Role", name, role.clone()).await.denied_by(MANAGED, ALONE).await?;
    }
    story.unchanged(&before).await?;
    attack.held()
}

#[tokio::test]
async fn nobody_opens_the_network_beside_the_operator() -> Result<()> {
    let attack = attack("a permissive second NetworkPolicy");
    let story = Story::new("permit").await?;
    let before = story.standing().await?;
    let open = json!({
        "metadata": {"labels": {"app.kubernetes.io/managed-by": "cloister", "cloister.dev/grant": "run"}},
        "spec": {"podSelector": {}, "policyTypes": ["Egress", "Ingress"], "egress": [{}], "ingress": [{}]},
    });
    for name in ["open", "cloister-grant.run", "cloister-egress-grant.run"] {
        for who in tenants(&story).await? {
            who.create("NetworkPolicy", name, open.clone()).await.forbidden().await?;
            who.apply("NetworkPolicy", name, open.clone()).await.forbidden().await?;
        }
        story.root.create("NetworkPolicy", name, open.clone()).await.denied_by(MANAGED, ALONE).await?;
        story.root.apply("NetworkPolicy", name, open.clone()).await.denied_by(MANAGED, ALONE).await?;
        story.root.generate("NetworkPolicy", name, open.clone()).await.denied_by(MANAGED, ALONE).await?;
    }
    story.unchanged(&before).await?;
    attack.held()
}

#[tokio::test]
async fn the_policies_that_deny_stay_as_they_are() -> Result<()> {
    let attack = attack("the NetworkPolicies that deny by default edited, stripped or deleted");
    let story = Story::new("deny").await?;
    let policies = story.root.list("NetworkPolicy").await.ok()?;
    let first = policies["items"][0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let changes = vec![
        json!({"spec": {"egress": [{}]}}),
        json!({"spec": {"podSelector": {"matchLabels": {"nobody": "here"}}}}),
        json!({"metadata": {"finalizers": null}}),
        json!({"metadata": {"labels": null}}),
    ];
    stands(&story, "NetworkPolicy", &first, changes, ALONE).await?;
    attack.held()
}

#[tokio::test]
async fn the_policy_of_a_grant_stays_as_it_is() -> Result<()> {
    let attack = attack("a grant's NetworkPolicy edited, for more pods and for more networks");
    let story = Story::new("reach").await?;
    story.opened("run", json!({})).await?;
    let changes = vec![
        json!({"spec": {"podSelector": {"matchLabels": {"cloister.dev/service-account": "other"}}}}),
        json!({"spec": {"egress": [{}]}}),
        json!({"metadata": {"ownerReferences": null}}),
    ];
    stands(&story, "NetworkPolicy", "cloister-grant.run", changes, ALONE).await?;
    attack.held()
}

#[tokio::test]
async fn nobody_mounts_a_credential_by_hand() -> Result<()> {
    let attack = attack("a GrantMount written, edited or deleted by hand");
    let story = Story::new("mount").await?;
    story.opened("run", json!({})).await?;
    let before = story.standing().await?;
    let own = format!("{}.reader.trainer", story.name);
    let for_other = json!({
        "metadata": {"annotations": {"cloister.dev/credential-version": "1"}},
        "spec": {
            "serviceAccountName": "other", "secretName": story.copy(), "volumeName": "cloister-data",
            "mountPath": "/var/run/cloister/data",
        },
    });
    let (policy, says) = ("grantmount-writers.cloister.dev", "only Cloister writes a GrantMount");
    for who in tenants(&story).await? {
        who.create("GrantMount", "mine", for_other.clone()).await.forbidden().await?;
        all_forbidden(who.change("GrantMount", &own, json!({"spec": {"serviceAccountName": "other"}})).await).await?;
        who.delete("GrantMount", &own).await.forbidden().await?;
    }
    story.root.create("GrantMount", "mine", for_other.clone()).await.denied_by(policy, says).await?;
    story.root.apply("GrantMount", "mine", for_other).await.denied_by(policy, says).await?;
    let change = json!({"spec": {"serviceAccountName": "other"}});
    all_denied(story.root.change("GrantMount", &own, change).await, policy, says).await?;
    story.root.delete("GrantMount", &own).await.denied_by(policy, says).await?;
    story.root.delete_all("GrantMount", "").await.denied_by(policy, says).await?;
    story.unchanged(&before).await?;
    attack.held()
}

#[tokio::test]
async fn nobody_reads_the_copy_of_a_credential() -> Result<()> {
    let attack = attack("the copy of a credential read, patched or replaced by tenants and approvers");
    let story = Story::new("copy").await?;
    story.opened("run", json!({})).await?;
    let before = story.standing().await?;
    let copy = story.copy();
    for who in ["alice", "olga", "ivy", "sam", "pia", "petra", "mallory"] {
        let who = story.person(who).await?;
        who.get("Secret", &copy).await.forbidden().await?;
        who.list("Secret").await.forbidden().await?;
        // What a patch changes it also answers.
        all_forbidden(who.change("Secret", &copy, json!({"metadata": {"labels": {"a": "b"}}})).await).await?;
        who.delete("Secret", &copy).await.forbidden().await?;
        who.elsewhere("cloister-credentials").get("Secret", &story.name).await.forbidden().await?;
    }
    let says = "is managed by Cloister, which alone writes it";
    let change = json!({"data": {"token": "eA=="}});
    all_denied(story.root.change("Secret", &copy, change).await, MANAGED, says).await?;
    let relabelled = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "mallory"}}});
    all_denied(story.root.change("Secret", &copy, relabelled).await, MANAGED, says).await?;
    let forged = json!({"stringData": {"token": "x"}});
    story.root.create("Secret", "cloister-grant-x.reader.trainer", forged).await.denied_by(MANAGED, says).await?;
    story.unchanged(&before).await?;
    attack.held()
}

#[tokio::test]
async fn a_namespace_does_not_leave_the_policies() -> Result<()> {
    let attack = attack("a namespace's labels changed to leave the admission policies");
    let story = Story::new("leave").await?;
    let labels = |key: &str, value: Value| json!({"metadata": {"labels": {key: value}}});
    let changes = [
        labels("cloister.dev/research-namespace", json!(null)),
        labels("cloister.dev/research-namespace", json!("other")),
        labels("cloister.dev/enforced", json!("false")),
        labels("cloister.dev/runtime-class", json!("runc")),
        labels("cloister.dev/tier", json!("Sandboxed")),
        labels("pod-security.kubernetes.io/enforce", json!("privileged")),
        labels("pod-security.kubernetes.io/enforce", json!(null)),
    ];
    let before = story.root.get("Namespace", &story.name).await.ok()?;
    for change in &changes {
        for who in tenants(&story).await? {
            all_forbidden(who.change("Namespace", &story.name, change.clone()).await).await?;
        }
        // As a merge patch alone a single label is taken away.
        let merged = story.root.merge("Namespace", &story.name, change.clone()).await;
        merged.denied_by("namespaces.cloister.dev", "set by Cloister").await?;
        let replaced = story.root.replace("Namespace", &story.name, change).await;
        replaced.denied_by("namespaces.cloister.dev", "set by Cloister").await?;
        for subresource in ["Namespace/status", "Namespace/finalize"] {
            let answer = story.root.replace(subresource, &story.name, change).await;
            answer.denied_by("namespaces.cloister.dev", "").await?;
        }
        if !change.to_string().contains("null") {
            let applied = story.root.apply("Namespace", &story.name, change.clone()).await;
            applied.denied_by("namespaces.cloister.dev", "set by Cloister").await?;
        }
    }
    story.root.delete("Namespace", &story.name).await.denied_by("namespaces.cloister.dev", "through its").await?;
    let after = story.root.get("Namespace", &story.name).await.ok()?;
    ensure!(
        after["metadata"]["labels"] == before["metadata"]["labels"] && after["metadata"]["deletionTimestamp"].is_null()
    );
    // A pod of the host's network is refused as before.
    let mut host = pod("trainer");
    host["spec"]["hostNetwork"] = json!(true);
    story.root.create("Pod", "host", host).await.refused(403, "violates PodSecurity").await?;
    attack.held()
}

#[tokio::test]
async fn an_owner_does_not_widen_their_namespace() -> Result<()> {
    let attack = attack("an owner who writes the ResearchNamespace: tier, owners, quota, labels, annotations");
    let story = Story::new("owner").await?;
    let rules = json!([{"apiGroups": ["cloister.dev"], "resources": ["researchnamespaces"], "resourceNames": [story.name], "verbs": ["get", "update", "patch"]}]);
    story.root.apply("ClusterRole", &story.name, json!({"rules": rules})).await.ok()?;
    let binding = json!({
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": story.name},
        "subjects": [{"apiGroup": RBAC_GROUP, "kind": "User", "name": "olga"}],
    });
    story.root.apply("ClusterRoleBinding", &story.name, binding).await.ok()?;
    let olga = story.person("olga").await?;
    cloister_tests::eventually("her rights", async || {
        olga.merge("ResearchNamespace", &story.name, json!({"metadata": {"annotations": {"note": "x"}}})).await.ok()
    })
    .await?;
    let before = story.standing().await?;
    let owner = json!([{"role": "Owner", "subjects": [{"kind": "User", "name": "mallory"}]}]);
    for change in [
        json!({"spec": {"members": owner}}),
        json!({"spec": {"quota": {"pods": "1000"}}}),
        json!({"spec": {"deletionPolicy": "Delete"}}),
        json!({"metadata": {"labels": {"team": "weights"}}}),
        json!({"metadata": {"annotations": {"cloister.dev/x": "y"}}}),
        json!({"metadata": {"annotations": {"cloister.dev/adopt": story.name}}}),
        json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Namespace", "name": "gone", "uid": "7"}]}}),
    ] {
        let answers = olga.change("ResearchNamespace", &story.name, change).await;
        all_denied(answers, "research-namespace-owners.cloister.dev", "").await?;
    }
    olga.delete("ResearchNamespace", &story.name).await.forbidden().await?;
    story.settle().await?;
    story.unchanged(&before).await?;
    attack.held()
}

#[tokio::test]
async fn tenants_delete_nothing_in_bulk() -> Result<()> {
    let attack = attack("deletecollection of grants, reviews, policies and bindings by members and approvers");
    let story = Story::new("bulk").await?;
    let grant = story.opened("run", json!({})).await?;
    let before = story.standing().await?;
    let of_story = format!("?labelSelector=story%3D{}", story.name);
    for who in tenants(&story).await? {
        for what in [
            "StorageAccessGrant",
            "RoleGrant",
            "EgressGrant",
            "AccessReview",
            "GrantMount",
            "RoleBinding",
            "NetworkPolicy",
            "Secret",
            "ServiceAccount",
        ] {
            who.delete_all(what, "").await.forbidden().await?;
        }
        for what in ["AccessPolicy", "StorageResource", "AccessRole", "ResearchNamespace", "CloisterConfig"] {
            who.delete_all(what, &of_story).await.forbidden().await?;
        }
    }
    story.settle().await?;
    story.unchanged(&before).await?;
    ensure!(story.again(&grant).await?["status"]["phase"] == "Active");
    attack.held()
}
