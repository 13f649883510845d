//! Bad input is refused where it is written, with a message that says what is wrong.

use anyhow::Result;
use cloister_api::ResearchNamespace;
use cloister_tests::scene::{Scene, condition};
use cloister_tests::unique;
use kube::{
    Api,
    api::{DynamicObject, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

/// The resource of one of our kinds.
fn resource(kind: &str) -> ApiResource {
    let plural = match kind {
        "AccessPolicy" => "accesspolicies".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("cloister.dev", "v1alpha1", kind), &plural)
}

/// Tries to create an object, without keeping it.
async fn tried(scene: &Scene, kind: &str, name: &str, spec: Value) -> Result<(), String> {
    let object = json!({"apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let object: DynamicObject = serde_json::from_value(object).expect("an object");
    let api: Api<DynamicObject> = match kind {
        "StorageAccessGrant" => Api::namespaced_with(scene.admin.clone(), "default", &resource(kind)),
        _ => Api::all_with(scene.admin.clone(), &resource(kind)),
    };
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&params, &object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("{error}"),
    }
}

async fn refused(scene: &Scene, kind: &str, spec: Value, why: &str) {
    match tried(scene, kind, "bad", spec.clone()).await {
        Ok(()) => panic!("{kind} was admitted: {spec}"),
        Err(message) => assert!(message.contains(why), "{kind} {spec}: {message:?} does not say {why:?}"),
    }
}

fn rule(more: Value) -> Value {
    let mut rule = json!({"name": "r", "ports": [{"port": 443}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        rule[key] = value.clone();
    }
    rule
}

#[tokio::test]
async fn research_namespaces() {
    let scene = Scene::new().await;
    let kind = "ResearchNamespace";
    let subject = |kind: &str, name: &str| json!({"tier": "Standard", "members": [{"role": "Owner", "subjects": [{"kind": kind, "name": name}]}]});
    let many: Vec<String> = (0..65).map(|at| format!("list-{at}")).collect();
    for (spec, why) in [
        (json!({}), "spec.tier: Required value"),
        (json!({"tier": "Platinum"}), "spec.tier: Unsupported value: \"Platinum\""),
        (json!({"tier": "Standard", "members": [{"role": "Owner", "subjects": []}]}), "should have at least 1 items"),
        (
            json!({"tier": "Standard", "members": [{"role": "King", "subjects": [{"kind": "User", "name": "a"}]}]}),
            "Unsupported value: \"King\"",
        ),
        (subject("User", "system:admin"), "users and groups of the system"),
        (subject("Group", "system:masters"), "users and groups of the system"),
        (subject("ServiceAccount", "system:serviceaccount:a:b"), "by its plain name"),
        (json!({"tier": "Standard", "egress": {"allowlists": many}}), "must have at most 64 items"),
        (json!({"tier": "Standard", "egress": {"allowlists": ["a", "a"]}}), "Duplicate value"),
        (json!({"tier": "Standard", "quota": {"requests.cpu": "lots"}}), "spec.quota[requests.cpu]"),
        (json!({"tier": "Standard", "quota": {"requests.cpu": "-1"}}), "spec.quota[requests.cpu]"),
        (json!({"tier": "Standard", "serviceAccounts": [{"name": "a"}, {"name": "a"}]}), "Duplicate value"),
        (
            json!({"tier": "Standard", "serviceAccounts": [{"name": "a", "annotations": {"kubernetes.io/x": "y"}}]}),
            "reserved",
        ),
        (json!({"tier": "Standard", "deletionPolicy": "Orphan"}), "Unsupported value: \"Orphan\""),
    ] {
        refused(&scene, kind, spec, why).await;
    }
    for name in ["default", "kube-system", "kube-mine", "cloister-system"] {
        let message = tried(&scene, kind, name, json!({"tier": "Standard"})).await.expect_err(name);
        assert!(message.contains("belongs to the system"), "{message}");
    }
    let message = tried(&scene, kind, "a.b", json!({"tier": "Standard"})).await.expect_err("a dot");
    assert!(message.contains("DNS label"), "{message}");
}

#[tokio::test]
async fn egress_rules() {
    let scene = Scene::new().await;
    let networks = |networks: Value| rule(json!({"networks": networks}));
    let ports = |ports: Value| rule(json!({"networks": ["203.0.113.0/24"], "ports": ports}));
    for (rules, why) in [
        (json!([]), "should have at least 1 items"),
        (json!([rule(json!({}))]), "exactly one of domainNames, networks, service and privateEndpoint"),
        (json!([rule(json!({"networks": ["203.0.113.0/24"], "domainNames": ["example.com"]}))]), "exactly one of"),
        (json!([networks(json!(["203.0.113.0/24"])), networks(json!(["198.51.100.0/24"]))]), "Duplicate value"),
        (json!([networks(json!([]))]), "should have at least 1 items"),
        (json!([networks(json!(["203.0.113.0"]))]), "must be a network in CIDR notation"),
        (json!([networks(json!(["203.0.113.0/33"]))]), "must be a network in CIDR notation"),
        (json!([networks(json!(["300.0.0.0/8"]))]), "must be a network in CIDR notation"),
        (json!([networks(json!(["203.0.113.7/24"]))]), "no bits set after the prefix"),
        (json!([networks(json!(["203.0.113.0/24", "203.0.113.0/24"]))]), "Duplicate value"),
        (json!([ports(json!([]))]), "should have at least 1 items"),
        (json!([ports(json!([{"port": 0}]))]), "should be greater than or equal to 1"),
        (json!([ports(json!([{"port": 65536}]))]), "should be less than or equal to 65535"),
        (json!([ports(json!([{"port": 20, "endPort": 10}]))]), "endPort must not be less than port"),
        (json!([ports(json!([{"port": 20, "protocol": "ICMP"}]))]), "must be TCP, UDP or SCTP"),
        (json!([rule(json!({"service": {"namespace": "", "name": "x"}}))]), "service.namespace"),
        (json!([rule(json!({"domainNames": ["*"]}))]), "domainNames"),
        (
            json!([rule(
                json!({"networks": ["203.0.113.0/24"], "podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}})
            )]),
            "In and NotIn take values",
        ),
        (json!([{"name": "A_B", "networks": ["203.0.113.0/24"], "ports": [{"port": 1}]}]), "rules[0].name"),
    ] {
        let own = json!({"tier": "Standard", "egress": {"rules": rules}});
        // A namespace may have no rules of its own; an allowlist without any is no allowlist.
        if rules != json!([]) {
            refused(&scene, "ResearchNamespace", own, why).await;
        }
        refused(&scene, "EgressAllowlist", json!({"rules": rules}), why).await;
    }
    refused(
        &scene,
        "EgressAllowlist",
        json!({"expiresAt": "tomorrow", "rules": [networks(json!(["203.0.113.0/24"]))]}),
        "expiresAt",
    )
    .await;
}

#[tokio::test]
async fn policies_storage_and_grants() {
    let scene = Scene::new().await;
    for (duration, why) in [
        ("0s", "must be at least 1s"),
        ("-4h", "must be a duration such as"),
        ("9000h", "must be at most 8760h"),
        ("99999999999999999999h", "must be at most 8760h"),
        ("4 hours", "must be a duration such as"),
        ("", "must be a duration such as"),
    ] {
        refused(&scene, "AccessPolicy", json!({"maxDuration": duration}), why).await;
        let grant = json!({"storage": "s", "role": "r", "subjects": [{"kind": "User", "name": "a"}], "requestedDuration": duration});
        refused(&scene, "StorageAccessGrant", grant, why).await;
    }
    for (spec, why) in [
        (json!({}), "spec.maxDuration: Required value"),
        (json!({"maxDuration": "1h", "defaultDuration": "2h"}), "defaultDuration must not exceed maxDuration"),
        (json!({"maxDuration": "1h", "requesters": [{"kind": "User", "name": "system:admin"}]}), "cannot be named"),
        (json!({"maxDuration": "1h", "requesters": [{"kind": "ServiceAccount", "name": "a"}]}), "needs its namespace"),
        (
            json!({"maxDuration": "1h", "approvalRules": [{"name": "a", "required": 0, "approvers": [{"kind": "User", "name": "a"}]}]}),
            "greater than or equal to 1",
        ),
        (json!({"maxDuration": "1h", "autoApprove": [""]}), "autoApprove"),
    ] {
        refused(&scene, "AccessPolicy", spec, why).await;
    }
    let role = |role: Value| json!({"sensitivity": "Low", "roles": [role]});
    for (spec, why) in [
        (json!({"sensitivity": "Low", "roles": []}), "should have at least 1 items"),
        (
            json!({"sensitivity": "Secret", "roles": [{"name": "r", "accessPolicy": "p"}]}),
            "Unsupported value: \"Secret\"",
        ),
        (role(json!({"name": "r"})), "accessPolicy: Required value"),
        (role(json!({"name": "r", "accessPolicy": "p", "credential": {}})), "secretRef"),
    ] {
        refused(&scene, "StorageResource", spec, why).await;
    }
    let grant = |more: Value| {
        let mut spec = json!({"storage": "s", "role": "r", "subjects": [{"kind": "User", "name": "a"}]});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        spec
    };
    for (spec, why) in [
        (grant(json!({"subjects": []})), "should have at least 1 items"),
        (
            grant(json!({"subjects": [{"kind": "Group", "name": "system:authenticated"}]})),
            "users and groups of the system",
        ),
        (grant(json!({"mount": {"serviceAccountName": "t", "mountPath": "/data"}})), "must be among the subjects"),
        (grant(json!({"mount": {"serviceAccountName": "t", "mountPath": "/data/../etc"}})), "mountPath"),
        (grant(json!({"startTime": "soon"})), "startTime"),
        (grant(json!({"onExpiry": "Keep"})), "Unsupported value: \"Keep\""),
    ] {
        refused(&scene, "StorageAccessGrant", spec, why).await;
    }
    let message = tried(&scene, "CloisterConfig", "mine", json!({})).await.expect_err("another name");
    assert!(message.contains("the only CloisterConfig is named cloister"), "{message}");
}

#[tokio::test]
async fn what_admission_cannot_judge_becomes_a_condition() -> Result<()> {
    let scene = Scene::new().await;
    // The name of a credential namespace, which the settings say.
    scene.declare("cloister-credentials", json!({"tier": "Standard"})).await?;
    let research: Api<ResearchNamespace> = scene.all();
    let object = scene.until_condition(&research, "cloister-credentials", "Ready", "False").await?;
    assert_eq!(condition(&object, "Ready").unwrap().reason, "NameReserved");
    let labels = scene.namespace("cloister-credentials").await?.metadata.labels.unwrap_or_default();
    assert!(!labels.contains_key("cloister.dev/research-namespace"), "{labels:?}");
    research.delete("cloister-credentials", &Default::default()).await?;

    let name = unique("missing");
    let object = {
        scene.declare(&name, json!({"tier": "Standard", "egress": {"allowlists": ["nowhere"]}})).await?;
        scene.until_condition(&research, &name, "Ready", "False").await?
    };
    assert_eq!(condition(&object, "Enforced").unwrap().status, "True", "a mistake in one need does not open the rest");
    assert!(condition(&object, "Ready").unwrap().message.contains("there is no EgressAllowlist nowhere"));
    Ok(())
}
