//! What the operator's token cannot hold up, take back, or remove.

use crate::support::*;
use anyhow::Result;
use cloister_api::{EgressAllowlist, labels};
use cloister_tests::{assert_denied, cluster, denied, eventually, unique};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DynamicObject, Patch};
use serde_json::{Value, json};

const FINALIZERS: &str = "operator-finalizers.cloister.dev";

/// An object of this kind in a namespace, as the operator writes it.
fn written(api_version: &str, kind: &str, name: &str, content: &Value) -> Value {
    let metadata = json!({"name": name, "labels": {labels::MANAGED_BY: labels::MANAGER}});
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
    json_merge(&mut object, content);
    object
}

/// Nobody but the operator could let such an object go, or the operator could not, and it is in force all the while.
#[tokio::test]
async fn it_puts_no_finalizers_on_but_its_own() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "finalizers").await?;
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:viewer"});
    let mount = json!({
        "serviceAccountName": "a", "secretName": "cloister-grant-s.r.a", "volumeName": "cloister-v", "mountPath": "/v",
    });
    let nothing = json!({});
    for (api_version, kind, name, content) in [
        ("networking.k8s.io/v1", "NetworkPolicy", "cloister-x", json!({"spec": {"podSelector": {}}})),
        ("rbac.authorization.k8s.io/v1", "RoleBinding", "cloister-viewers", json!({"roleRef": role_ref})),
        ("v1", "ServiceAccount", "trainer", nothing.clone()),
        ("v1", "ResourceQuota", "cloister", nothing.clone()),
        ("v1", "LimitRange", "cloister", json!({"spec": {"limits": []}})),
        ("v1", "Secret", "cloister-grant-s.r.a", nothing.clone()),
        ("cloister.dev/v1alpha1", "GrantMount", "s.r.a", json!({"spec": mount})),
    ] {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = kube::api::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, version, kind));
        let own: Api<DynamicObject> = Api::namespaced_with(operator.clone(), &ns, &resource);
        let plain = written(api_version, kind, name, &content);
        for foreign in ["example.com/stay", "cloister.dev/other", "cloister.dev/enforced"] {
            let held = json!({"metadata": {"finalizers": [foreign]}});
            let mut with = plain.clone();
            json_merge(&mut with, &held);
            assert_denied(own.patch(name, &apply(), &Patch::Apply(with)).await, FINALIZERS);
        }
        own.patch(name, &apply(), &Patch::Apply(plain)).await?;
        assert_denied(merge(&own, name, json!({"metadata": {"finalizers": ["example.com/stay"]}})).await, FINALIZERS);
        // What is waited for would hold it as well.
        for waits in [kube::api::PropagationPolicy::Foreground, kube::api::PropagationPolicy::Orphan] {
            let mut params = delete();
            params.propagation_policy = Some(waits);
            assert_denied(own.delete(name, &params).await, FINALIZERS);
        }
        own.delete(name, &delete()).await?;
    }
    let own: Api<NetworkPolicy> = Api::namespaced(operator.clone(), &ns);
    let mut deny =
        written("networking.k8s.io/v1", "NetworkPolicy", "cloister-deny-all", &json!({"spec": {"podSelector": {}}}));
    deny["metadata"]["finalizers"] = json!([labels::ENFORCED_FINALIZER]);
    own.patch("cloister-deny-all", &apply(), &Patch::Apply(deny)).await?;
    merge(&own, "cloister-deny-all", json!({"metadata": {"finalizers": null}})).await?;

    let namespaces: Api<Namespace> = Api::all(operator.clone());
    let foreign = json!({"metadata": {"finalizers": ["example.com/stay"]}});
    assert_denied(merge(&namespaces, &ns, foreign.clone()).await, FINALIZERS);
    for kind in attested() {
        kind.api(&admin, &ns).create(&create(), &object(kind.json("one"))).await?;
        assert_denied(merge(&kind.api(&operator, &ns), "one", foreign.clone()).await, FINALIZERS);
    }
    // What others have put on is theirs, and stays.
    let grants = attested()[0].api(&admin, &ns);
    merge(&grants, "one", foreign).await?;
    let both = json!({"metadata": {"finalizers": ["example.com/stay", labels::GRANT_FINALIZER]}});
    merge(&attested()[0].api(&operator, &ns), "one", both).await?;
    merge(&attested()[0].api(&operator, &ns), "one", json!({"metadata": {"finalizers": null}})).await?;
    Ok(())
}

/// It would lead a rule to whatever the Service is by now.
#[tokio::test]
async fn it_looks_at_no_published_service_again() -> Result<()> {
    const POLICY: &str = "operator-published-services.cloister.dev";
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let (theirs, own): (Api<EgressAllowlist>, Api<EgressAllowlist>) = (Api::all(admin), Api::all(operator));
    let name = unique("pinned");
    let rule = json!({"name": "cache", "service": {"namespace": "infra", "name": "cache"}, "ports": [{"port": 80}]});
    let allowlist = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "EgressAllowlist", "metadata": {"name": name},
        "spec": {"description": "a cache", "rules": [rule], "namespaceSelector": {}},
    });
    theirs.create(&create(), &object(allowlist)).await?;
    let status = |generation: i64, hash: &str| json!({"status": {"observedGeneration": generation, "services": [{"rule": "cache", "hash": hash}]}});
    let write = async |change: Value| merge_at(&own, "status", &name, change).await;
    assert_denied(write(status(2, "one")).await, POLICY);
    write(json!({"status": {"observedGeneration": 1}})).await?;
    // It is written down when it is first there.
    write(status(1, "one")).await?;
    write(json!({"status": {"namespaces": 3}})).await?;
    for change in [
        status(1, "two"),
        json!({"status": {"services": []}}),
        json!({"status": {"services": null}}),
        json!({"status": {"services": [{"rule": "other", "hash": "one"}]}}),
        json!({"status": {"services": [{"rule": "cache", "hash": "one"}, {"rule": "cache", "hash": "two"}]}}),
        json!({"status": {"observedGeneration": 0}}),
        json!({"status": {"observedGeneration": null}}),
        json!({"status": null}),
        status(2, "two"),
    ] {
        assert_denied(write(change).await, POLICY);
    }
    // What is said of a rule that names no Service holds nothing up.
    let more = json!([{"rule": "cache", "hash": "one"}, {"rule": "other", "hash": "one"}]);
    write(json!({"status": {"services": more}})).await?;
    write(status(1, "one")).await?;
    merge(&theirs, &name, json!({"spec": {"description": "the new cache"}})).await?;
    write(status(2, "two")).await?;
    assert_denied(write(status(1, "two")).await, POLICY);
    theirs.delete(&name, &delete()).await?;
    Ok(())
}

/// A review that revokes would be lost, and nobody could tell.
#[tokio::test]
async fn it_removes_no_review_of_what_has_not_ended() -> Result<()> {
    const MANY: usize = 300;
    // A CloisterConfig that does not say how long they are kept would refuse each removal.
    let _alone = CONFIG.lock().await;
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "reviews").await?;
    let [.., reviews] = attested();
    for kind in grants() {
        let policy = format!("operator-reviews-of-{}.cloister.dev", kind.resource.plural);
        let (theirs, own) = (kind.api(&admin, &ns), kind.api(&operator, &ns));
        let asked = theirs.create(&create(), &object(kind.json("run"))).await?;
        let mut review = reviews.json("of-run");
        review["spec"]["requestRef"] =
            json!({"kind": kind.resource.kind, "name": "run", "uid": asked.metadata.uid.as_deref()});
        reviews.api(&admin, &ns).create(&create(), &object(review)).await?;
        let (read, taken) = (reviews.api(&operator, &ns), reviews.api(&admin, &ns));
        let counted = json!({"status": {"conditions": [{
            "type": "Counted", "status": "False", "reason": "AlreadyDecided", "message": "forged",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]}});
        merge_at(&read, "status", "of-run", counted).await?;
        let remove = async || read.delete("of-run", &delete()).await;
        for phase in [json!(null), json!("Pending")] {
            merge_at(&own, "status", "run", json!({"status": {"phase": phase}})).await?;
            eventually("the grant to be seen", async || denied(remove().await, &policy)).await?;
        }
        let approved = json!({"status": {
            "phase": "Approved", "approvedAt": "2026-01-01T00:00:00Z", "expiresAt": "2036-01-01T00:00:00Z",
        }});
        merge_at(&own, "status", "run", approved).await?;
        for phase in ["Active", "Revoking"] {
            assert_denied(remove().await, &policy);
            merge_at(&own, "status", "run", json!({"status": {"phase": phase}})).await?;
        }
        assert_denied(remove().await, &policy);
        // One that is made anew is another, and decided by other reviews.
        merge_at(&own, "status", "run", json!({"status": {"phase": "Revoked"}})).await?;
        eventually("the end to be seen", async || {
            remove().await?;
            Ok(())
        })
        .await?;
        assert!(taken.get_opt("of-run").await?.is_none());
    }
    // A review whose grant is gone goes, however many grants there are.
    let [kind, ..] = attested();
    for number in 0..MANY {
        kind.api(&admin, &ns).create(&create(), &object(kind.json(&format!("many-{number}")))).await?;
    }
    let review = reviews.json("of-none");
    reviews.api(&admin, &ns).create(&create(), &object(review)).await?;
    let counted = json!({"status": {"conditions": [{
        "type": "Counted", "status": "False", "reason": "RequestGone", "message": "gone",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]}});
    let own = reviews.api(&operator, &ns);
    merge_at(&own, "status", "of-none", counted).await?;
    // That there is no CloisterConfig any more, admission sees a moment later.
    eventually("the removal to be allowed", async || Ok(own.delete("of-none", &delete()).await.map(drop)?)).await?;
    Ok(())
}
