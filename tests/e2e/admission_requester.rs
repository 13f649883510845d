//! Who asked, and who decided: the API server says it, in all kinds and in all ways of writing.

use crate::support::*;
use anyhow::{Context, Result, ensure};
use cloister_tests::{assert_denied, cluster, eventually};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// A namespace, and alice, who is in its group of administrators, and twice in another.
async fn namespace() -> Result<(String, Client)> {
    let cluster = cluster().await;
    let ns = research_namespace(&cluster.operator().await?, "requester").await?;
    let binding: ClusterRoleBinding = object(json!({
        "metadata": {"name": ns},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": ns},
            {"kind": "ServiceAccount", "namespace": ns, "name": "gitops"},
        ],
    }));
    Api::all(cluster.admin().await?).create(&create(), &binding).await?;
    let alice = cluster.client_for("alice", &[&ns, "researchers", "researchers"]).await?;
    for kind in attested() {
        let api = kind.api(&alice, &ns);
        eventually("her rights", async || Ok(api.list(&Default::default()).await?)).await?;
    }
    Ok((ns, alice))
}

fn sorted(groups: &Value) -> Vec<&str> {
    let mut groups: Vec<_> = groups.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    groups.sort();
    groups
}

#[tokio::test]
async fn the_api_server_says_who_it_was() -> Result<()> {
    let (ns, alice) = namespace().await?;
    let (admin, cluster) = (cluster().await.admin().await?, cluster().await);
    service_account(&admin, &ns, "gitops").await?;
    let account = cluster.service_account(&ns, "gitops").await?;
    for kind in attested() {
        let api = kind.api(&alice, &ns);
        let made = api.create(&create(), &object(kind.json("mine"))).await?;
        let who = kind.who(&made);
        assert_eq!((&who["username"], &who["uid"]), (&json!("alice"), &json!("")), "{}", kind.resource.kind);
        assert_eq!(sorted(&who["groups"]), [ns.as_str(), "researchers", "system:authenticated"], "each group once");
        assert_eq!(who["personKey"], "", "there is none that could be asked for");

        let mut generated = kind.json("");
        generated["metadata"] = json!({"generateName": "mine-"});
        let generated = api.create(&create(), &object(generated)).await?;
        assert_eq!(kind.username(&generated), Some("alice"));

        // A ServiceAccount has a uid.
        let theirs = kind.api(&account, &ns).create(&dry_run(), &object(kind.json("theirs"))).await?;
        let who = kind.who(&theirs);
        assert_eq!(who["username"], json!(format!("system:serviceaccount:{ns}:gitops")));
        assert_ne!(who["uid"], json!(""));
    }
    Ok(())
}

#[tokio::test]
async fn a_forged_identity_is_refused() -> Result<()> {
    let (ns, alice) = namespace().await?;
    let truth = json!([ns.as_str(), "researchers", "system:authenticated"]);
    for kind in attested() {
        let api = kind.api(&alice, &ns);
        for forged in [
            json!({"username": "bob"}),
            json!({"username": "bob", "uid": "", "groups": truth}),
            json!({"username": "alice", "uid": "u1", "groups": truth}),
            json!({"username": "alice", "uid": "", "groups": []}),
            json!({"username": "alice", "uid": "", "groups": ["researchers", "system:authenticated"]}),
            json!({"username": "alice", "uid": "", "groups": [ns, "researchers", "system:authenticated", "security"]}),
        ] {
            let grant = kind.json_by("forged", forged.clone());
            assert_denied(api.create(&create(), &object(grant.clone())).await, kind.policy);
            assert_denied(api.patch("forged", &PatchParams::apply("x"), &Patch::Apply(grant)).await, kind.policy);
            let mut generated = kind.json_by("", forged);
            generated["metadata"] = json!({"generateName": "forged-"});
            assert_denied(api.create(&create(), &object(generated)).await, kind.policy);
        }
        // Half of it is written over.
        for half in [json!({"uid": "u1"}), json!({"username": "", "groups": ["security"], "personKey": "p"})] {
            let half = api.create(&dry_run(), &object(kind.json_by("half", half))).await?;
            let who = kind.who(&half);
            assert_eq!((kind.username(&half), &who["uid"], &who["personKey"]), (Some("alice"), &json!(""), &json!("")));
            assert_eq!(sorted(&who["groups"]), sorted(&truth));
        }
        // What is true may be said.
        let true_one = json!({"username": "alice", "uid": "", "groups": truth});
        api.create(&dry_run(), &object(kind.json_by("true", true_one))).await?;
        // What is not said at all is the schema's to refuse, in its words.
        let mut empty = kind.json("empty");
        empty["spec"] = json!({});
        let mut none = kind.json("none");
        none.as_object_mut().context("an object")?.remove("spec");
        for bad in [empty, none] {
            let refused = api.create(&dry_run(), &object(bad)).await;
            assert!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 422), "{refused:?}");
        }
        // In any namespace: it may become a research namespace.
        let elsewhere = kind.api(&alice, "default");
        let forged = kind.json_by("forged", json!({"username": "bob"}));
        assert_denied(elsewhere.create(&dry_run(), &object(forged)).await, kind.policy);
    }
    Ok(())
}

#[tokio::test]
async fn a_later_write_leaves_who_it_was() -> Result<()> {
    let (ns, alice) = namespace().await?;
    let bob = cluster().await.client_for("bob", &[&ns]).await?;
    for kind in attested() {
        let (alices, bobs) = (kind.api(&alice, &ns), kind.api(&bob, &ns));
        for (api, manager) in [(&alices, "one"), (&alices, "one"), (&alices, "two"), (&bobs, "three")] {
            let params = PatchParams::apply(manager).force();
            let after = api.patch("one", &params, &Patch::Apply(kind.json("one"))).await?;
            assert_eq!(kind.username(&after), Some("alice"));
        }
        // As kubectl replace does it, with the file that was applied.
        let made = alices.get("one").await?;
        let mut replaced: DynamicObject = object(kind.json("one"));
        replaced.metadata.resource_version = made.metadata.resource_version.clone();
        let after = bobs.replace("one", &create(), &replaced).await?;
        assert_eq!(kind.username(&after), Some("alice"));

        // Bob makes it his, in every way of writing. What changes the spec is refused by the schema, before policies see it.
        let his = json!({"username": "bob", "uid": "", "groups": [ns, "system:authenticated"]});
        let mut replaced: DynamicObject = object(kind.json_by("one", his.clone()));
        replaced.metadata.resource_version = after.metadata.resource_version.clone();
        assert!(bobs.replace("one", &create(), &replaced).await.is_err());
        assert!(merge(&bobs, "one", json!({"spec": {kind.field: {"username": "bob"}}})).await.is_err());
        assert!(merge(&bobs, "one", json!({"spec": {kind.field: his}})).await.is_err());
        assert!(merge(&bobs, "one", json!({"spec": {kind.field: {"groups": ["security"]}}})).await.is_err());
        assert!(merge(&bobs, "one", json!({"spec": {kind.field: {"personKey": "bob"}}})).await.is_err());
        let forged = Patch::Apply(kind.json_by("one", json!({"username": "bob"})));
        assert!(bobs.patch("one", &PatchParams::apply("x").force(), &forged).await.is_err());
        let operations = [json!({"op": "replace", "path": format!("/spec/{}/username", kind.field), "value": "bob"})];
        let operations: json_patch::Patch = object(json!(operations));
        let patched: kube::Result<DynamicObject> =
            bobs.patch("one", &PatchParams::default(), &Patch::Json::<()>(operations)).await;
        assert!(patched.is_err());
        // Away is not away.
        let after = merge(&bobs, "one", json!({"spec": {kind.field: null}})).await?;
        assert_eq!(kind.who(&after), kind.who(&made));
        let after = merge(&bobs, "one", json!({"spec": {kind.field: {"username": null}}})).await?;
        assert_eq!(kind.who(&after), kind.who(&made));
    }
    Ok(())
}

/// The operator, too: it writes the status, and nothing comes along with it.
#[tokio::test]
async fn nobody_changes_who_it_was_by_a_subresource() -> Result<()> {
    let (ns, alice) = namespace().await?;
    let operator = cluster().await.operator().await?;
    for kind in attested() {
        let (alices, own) = (kind.api(&alice, &ns), kind.api(&operator, &ns));
        let made = alices.create(&create(), &object(kind.json("one"))).await?;
        let forged = json!({"spec": {kind.field: {"username": "bob"}}, "status": {"observedGeneration": 1}});
        let mut whole = serde_json::to_value(&made)?;
        json_merge(&mut whole, &forged);
        let path = format!("{}/status", kind.path(&ns, "one"));
        let put = |client: &Client| {
            let (client, request) = (client.clone(), http_put(&path, whole.to_string().into_bytes()));
            async move { client.request::<Value>(request).await }
        };
        assert_denied(merge_at(&alices, "status", "one", forged.clone()).await, "status.cloister.dev");
        assert_denied(put(&alice).await, "status.cloister.dev");
        let after: DynamicObject = merge_at(&own, "status", "one", forged.clone()).await?;
        ensure!(after.data["status"]["observedGeneration"] == json!(1));
        assert_eq!(kind.who(&after), kind.who(&made));
    }
    Ok(())
}

/// What has a wrong type is the schema's to refuse, in its words and with all that is wrong: admission only adds to it.
#[tokio::test]
async fn what_the_schema_refuses_it_says_itself() -> Result<()> {
    let (ns, alice) = namespace().await?;
    for kind in attested() {
        let of_grants = ["requestedDuration", "justification", "ticketRef", "breakGlass"];
        let fields = if kind.field == "reviewer" { &["digest", "decision", "comment"][..] } else { &of_grants };
        let types_are_wrong = async |spec: Value, fields: &[&str]| {
            let mut object = kind.json("mine");
            json_merge(&mut object, &json!({"spec": spec}));
            let path = kind.path(&ns, "");
            let post = http_post(path.trim_end_matches('/'), serde_json::to_vec(&object)?);
            let Err(kube::Error::Api(refused)) = alice.request::<Value>(post).await else {
                anyhow::bail!("{} {spec} should have been refused", kind.resource.kind);
            };
            let said = |field: &&str| refused.message.contains(&format!("{field} in body must be of type "));
            ensure!(refused.code == 422 && fields.iter().all(said), "{spec}: {}", refused.message);
            Ok(())
        };
        let all: Value = fields.iter().map(|field| ((*field).to_owned(), json!(4))).collect();
        let names: Vec<String> = fields.iter().map(|field| format!("spec.{field}")).collect();
        types_are_wrong(all, &names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        types_are_wrong(json!("text"), &["spec"]).await?;
        let who = format!("spec.{}", kind.field);
        types_are_wrong(json!({kind.field: "alice"}), &[&who]).await?;
        types_are_wrong(json!({kind.field: {"username": 4}}), &[&format!("{who}.username")]).await?;
    }
    Ok(())
}
