//! What comes into research namespaces from elsewhere, where CloisterConfig lists it: through gateways, by accounts of
//! controllers, and by annotations of accounts. And that the operator's token gives nothing else of the kind.

use crate::place::Place;
use anyhow::{Result, ensure};
use cloister_api::{CloisterConfig, EgressState, ResearchNamespace};
use cloister_tests::{denied, eventually, scene::condition};
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    core::v1::{Namespace, ServiceAccount},
    networking::v1::NetworkPolicy,
    rbac::v1::RoleBinding,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

/// That the policy refused it that compares with the lists, by the binding that reads them.
fn not_listed<T>(result: kube::Result<T>) -> Result<()> {
    let Err(kube::Error::Api(status)) = result else { anyhow::bail!("it should have been refused") };
    let by = "with binding 'operator-listed-known.cloister.dev' denied request: the operator ";
    ensure!(status.code == 403 && status.message.contains(by), "{status:?}");
    Ok(())
}

fn listed() -> Value {
    json!({
        "accessNetworks": ["10.8.0.0/16"],
        "gateways": [{
            "name": "hub", "namespace": "jhub", "podSelector": {"matchLabels": {"app": "proxy"}}, "namespaceSelector": {},
        }],
        "workloads": {
            "controllerNamespaces": ["jhub"],
            "serviceAccountAnnotations": ["eks.amazonaws.com/role-arn=arn:aws:iam::1:role/research-"],
        },
    })
}

fn notebooks() -> Value {
    let notebook =
        json!({"podSelector": {"matchLabels": {"app": "notebook"}}, "ports": [{"port": 8888, "protocol": "TCP"}]});
    let mut gateway = notebook.clone();
    gateway["gateway"] = json!("hub");
    let account =
        json!({"name": "trainer", "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/research-a"}});
    json!({
        "tier": "Standard",
        "members": [{"role": "Researcher", "subjects": [
            {"kind": "ServiceAccount", "name": "hub", "namespace": "jhub"}, {"kind": "User", "name": "alice"},
        ]}],
        "ingress": {"fromGateways": [gateway], "fromAccessNetworks": [notebook]},
        "serviceAccounts": [account],
    })
}

#[tokio::test]
async fn what_is_listed_comes_in_and_goes_with_the_list() -> Result<()> {
    let place = Place::new("ways-in").await?;
    let (scene, name) = (&place.scene, place.name.as_str());
    place.configure(listed()).await?;
    scene.enforced(name, notebooks()).await?;
    let stands = async |wanted: bool| {
        eventually(if wanted { "all to be open" } else { "all to be closed" }, async || {
            let policies = scene.policies(name).await?;
            for policy in ["cloister-gateway.0", "cloister-access.0"] {
                ensure!(policies.iter().any(|one| one == policy) == wanted, "{policies:?}");
            }
            let account = scene.within::<ServiceAccount>(name).get("trainer").await?;
            ensure!(
                account.annotations().contains_key("eks.amazonaws.com/role-arn") == wanted,
                "{:?}",
                account.metadata
            );
            let binding = scene.within::<RoleBinding>(name).get("cloister-researchers").await?;
            let subjects = binding.subjects.unwrap_or_default();
            ensure!(subjects.iter().any(|one| one.name == "hub") == wanted, "{subjects:?}");
            ensure!(subjects.iter().any(|one| one.name == "alice"), "alice is a member either way");
            Ok(())
        })
        .await
    };
    // The gateway is listed before it is installed.
    scene.until_need(name, "gateway/0", EgressState::Refused, "GatewayNamespaceNotFound").await?;
    let hub: Namespace = serde_json::from_value(json!({"metadata": {"name": "jhub"}}))?;
    scene.all().create(&PostParams::default(), &hub).await?;
    stands(true).await?;
    let all = scene.all::<ResearchNamespace>();
    scene.until_need(name, "gateway/0", EgressState::Active, "").await?;
    scene.until_condition(&all, name, "Ready", "True").await?;

    let other =
        json!({"name": "trainer", "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/research-b"}});
    let change = Patch::Merge(json!({"spec": {"serviceAccounts": [other]}}));
    all.patch(name, &PatchParams::default(), &change).await?;
    eventually("the annotation to follow", async || {
        let account = scene.within::<ServiceAccount>(name).get("trainer").await?;
        ensure!(account.annotations()["eks.amazonaws.com/role-arn"].ends_with("research-b"), "{:?}", account.metadata);
        Ok(())
    })
    .await?;

    place.choose("Auto").await?;
    stands(false).await?;
    let object = scene.until_condition(&all, name, "Ready", "False").await?;
    let ready = condition(&object, "Ready").unwrap();
    ensure!(ready.message.contains("jhub/hub"), "{}: {}", ready.reason, ready.message);
    // What closes waits for no list, also where there is none to read.
    place.configure(listed()).await?;
    stands(true).await?;
    scene.all::<CloisterConfig>().delete("cloister", &DeleteParams::default()).await?;
    stands(false).await
}

#[tokio::test]
async fn an_account_that_is_refused_loses_what_its_annotations_gave() -> Result<()> {
    let place = Place::new("annotated").await?;
    let (scene, name) = (&place.scene, place.name.as_str());
    place.configure(listed()).await?;
    let arn = |role: &str| format!("arn:aws:iam::1:role/research-{role}");
    let accounts = |role: &str| json!([{"name": "trainer", "annotations": {"eks.amazonaws.com/role-arn": arn(role)}}]);
    scene.enforced(name, json!({"tier": "Standard", "serviceAccounts": accounts("a")})).await?;
    let role = async || {
        let account = scene.within::<ServiceAccount>(name).get("trainer").await?;
        anyhow::Ok(account.annotations().get("eks.amazonaws.com/role-arn").cloned())
    };
    eventually("the annotation", async || {
        ensure!(role().await? == Some(arn("a")));
        Ok(())
    })
    .await?;

    // A policy of somebody else refuses the account with its new annotation.
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(scene.admin.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(scene.admin.clone());
    let meta = json!({"name": format!("theirs-{name}")});
    let policy = json!({"metadata": meta, "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["serviceaccounts"],
        }]},
        "validations": [{
            "expression": "!object.metadata.?annotations.orValue({}).exists(k, object.metadata.annotations[k].endsWith('-refused'))",
            "message": "no account of this team",
        }],
    }});
    let here = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
    let binding = json!({"metadata": meta, "spec": {
        "policyName": meta["name"], "validationActions": ["Deny"], "matchResources": here,
    }});
    policies.create(&PostParams::default(), &serde_json::from_value(policy)?).await?;
    bindings.create(&PostParams::default(), &serde_json::from_value(binding)?).await?;
    let ours: Api<ServiceAccount> = Api::namespaced(scene.world.operator().await?, name);
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let probe = Patch::Merge(json!({"metadata": {"annotations": {"eks.amazonaws.com/role-arn": arn("refused")}}}));
    eventually("the other policy to be in force", async || {
        let said = ours.patch("trainer", &dry, &probe).await.err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(said.contains("no account of this team"), "{said}");
        Ok(())
    })
    .await?;

    let all = scene.all::<ResearchNamespace>();
    let change = Patch::Merge(json!({"spec": {"serviceAccounts": accounts("refused")}}));
    all.patch(name, &PatchParams::default(), &change).await?;
    eventually("the old annotation to go", async || {
        ensure!(role().await?.is_none());
        Ok(())
    })
    .await?;
    let object = scene.until_condition(&all, name, "Ready", "False").await?;
    let ready = condition(&object, "Ready").unwrap();
    ensure!(ready.message.contains("no account of this team"), "{}: {}", ready.reason, ready.message);
    ensure!(condition(&object, "Enforced").is_some_and(|enforced| enforced.status == "True"));
    bindings.delete(&format!("theirs-{name}"), &DeleteParams::default()).await?;
    policies.delete(&format!("theirs-{name}"), &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn a_thief_of_the_operators_token_lets_in_nothing_that_is_not_listed() -> Result<()> {
    let place = Place::new("thief").await?;
    let name = place.name.as_str();
    place.configure(listed()).await?;
    place.scene.enforced(name, json!({"tier": "Standard", "serviceAccounts": [{"name": "trainer"}]})).await?;
    let thief = place.scene.world.operator().await?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };

    let policies: Api<NetworkPolicy> = Api::namespaced(thief.clone(), name);
    let from = |peer: Value, labels: Value| -> Result<NetworkPolicy> {
        let spec = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [peer]}]});
        Ok(serde_json::from_value(json!({"metadata": {"name": "cloister-x", "labels": labels}, "spec": spec}))?)
    };
    let (plain, marked) = (json!({"app.kubernetes.io/managed-by": "cloister"}), json!({"cloister.dev/listed": "true"}));
    let pods = |namespace: &str, app: &str| {
        json!({
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "podSelector": {"matchLabels": {"app": app}},
        })
    };
    let research = json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a", "cloister.dev/research-namespace": "a"}},
    });
    let network = |cidr: &str| json!({"ipBlock": {"cidr": cidr}});
    for (peer, labels) in [
        (json!({"podSelector": {}}), &plain),
        (research, &plain),
        (pods("jhub", "proxy"), &marked),
        (network("10.8.0.0/16"), &marked),
        (network("10.8.7.0/24"), &marked),
    ] {
        eventually("what is listed to be admitted", async || {
            Ok(policies.create(&dry, &from(peer.clone(), labels.clone())?).await?)
        })
        .await?;
    }
    let forged = json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default", "cloister.dev/research-namespace": "a"}},
    });
    for peer in [pods("jhub", "proxy"), pods("default", "evil"), network("10.8.0.0/16"), forged] {
        denied(policies.create(&dry, &from(peer, plain.clone())?).await, "operator-networkpolicies.cloister.dev")?;
    }
    let all_of = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "jhub"}}});
    for peer in [
        pods("jhub", "evil"),
        pods("default", "proxy"),
        all_of,
        network("10.0.0.0/8"),
        network("10.9.0.0/16"),
        network("203.0.113.0/24"),
    ] {
        not_listed(policies.create(&dry, &from(peer, marked.clone())?).await)?;
    }

    let bindings: Api<RoleBinding> = Api::namespaced(thief.clone(), name);
    let bind = |namespace: &str, labels: &Value| -> Result<RoleBinding> {
        Ok(serde_json::from_value(json!({
            "metadata": {"name": "cloister-viewers", "labels": labels},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:viewer"},
            "subjects": [{"kind": "ServiceAccount", "name": "hub", "namespace": namespace}],
        }))?)
    };
    bindings.create(&dry, &bind("jhub", &marked)?).await?;
    denied(bindings.create(&dry, &bind("jhub", &plain)?).await, "operator-rolebindings.cloister.dev")?;
    not_listed(bindings.create(&dry, &bind("default", &marked)?).await)?;

    let accounts: Api<ServiceAccount> = Api::namespaced(thief, name);
    let identity = |role: &str, labels: &Value| {
        let annotations = json!({"eks.amazonaws.com/role-arn": role});
        Patch::Merge(json!({"metadata": {"labels": labels, "annotations": annotations}}))
    };
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let give = async |role: &str, labels: &Value| accounts.patch("trainer", &dry, &identity(role, labels)).await;
    give("arn:aws:iam::1:role/research-b", &marked).await?;
    denied(give("arn:aws:iam::1:role/research-b", &plain).await, "operator-objects.cloister.dev")?;
    not_listed(give("arn:aws:iam::1:role/admin", &marked).await)?;
    Ok(())
}
