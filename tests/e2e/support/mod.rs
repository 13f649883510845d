//! Objects that the tests make, and namespaces as the operator keeps them.

use anyhow::{Context, Result, ensure};
use cloister_api::{AccessReview, EgressGrant, RoleGrant, StorageAccessGrant, labels};
use cloister_tests::{eventually, unique};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use tokio::sync::Mutex;

/// Held by each test that makes a CloisterConfig, or that needs that there is none: a cluster has one.
pub static CONFIG: Mutex<()> = Mutex::const_new(());

/// What the API server says of a rule that fails instead of giving its sentence.
pub const WORDS_OF_FAILED_RULES: [&str; 9] = [
    "evaluating rule",
    "compilation",
    "no such key",
    "no such overload",
    "did not match a supported",
    "call cost",
    "cost budget",
    "type conversion",
    "integer overflow",
];

/// Whether an answer has words of the API server or of CEL, and not only ours.
pub fn has_words_that_are_not_ours(answer: &str) -> bool {
    WORDS_OF_FAILED_RULES.iter().chain(&["should match", "in body"]).any(|other| answer.contains(other))
}

/// A typed object from JSON.
#[track_caller]
pub fn object<K: DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).expect("the test writes it well")
}

pub fn create() -> PostParams {
    PostParams::default()
}

/// Asks whether it would be admitted.
pub fn dry_run() -> PostParams {
    PostParams { dry_run: true, ..Default::default() }
}

pub fn delete() -> DeleteParams {
    DeleteParams::default()
}

pub fn apply() -> PatchParams {
    PatchParams::apply(labels::MANAGER).force()
}

pub async fn merge<K: Clone + Debug + DeserializeOwned>(api: &Api<K>, name: &str, patch: Value) -> kube::Result<K> {
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
}

/// A merge patch of a subresource.
pub async fn merge_at<K: Clone + Debug + DeserializeOwned>(
    api: &Api<K>,
    subresource: &str,
    name: &str,
    patch: Value,
) -> kube::Result<K> {
    api.patch_subresource(subresource, name, &PatchParams::default(), &Patch::Merge(patch)).await
}

/// The labels of a research namespace that is closed.
pub fn namespace_labels(name: &str) -> Value {
    json!({
        labels::RESEARCH_NAMESPACE: name,
        labels::ENFORCED: "true",
        labels::TIER: "Standard",
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "latest",
    })
}

/// A research namespace as the operator leaves it, ready for pods.
pub async fn research_namespace(operator: &Client, prefix: &str) -> Result<String> {
    research_namespace_with(operator, prefix, json!({})).await
}

/// The same with other labels; `null` takes one away.
pub async fn research_namespace_with(operator: &Client, prefix: &str, labels: Value) -> Result<String> {
    let name = unique(prefix);
    let mut all = namespace_labels(&name);
    for (key, value) in labels.as_object().context("labels are an object")? {
        all[key] = value.clone();
    }
    let all: Value = all
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": all}});
    Api::<Namespace>::all(operator.clone()).patch(&name, &apply(), &Patch::Apply(namespace)).await?;
    wait_until_usable(operator, &name).await?;
    Ok(name)
}

/// A research namespace in which Pod Security refuses nothing. The operator makes no such one, but leaves as it is what
/// it takes over.
pub async fn lax_namespace(admin: &Client, operator: &Client, prefix: &str) -> Result<String> {
    let name = plain_namespace(admin, prefix).await?;
    let lax = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
    merge(&Api::<Namespace>::all(admin.clone()), &name, lax).await?;
    adopt_with(admin, operator, &name, json!({"pod-security.kubernetes.io/enforce": "privileged"})).await?;
    Ok(name)
}

/// A namespace that has nothing to do with Cloister.
pub async fn plain_namespace(admin: &Client, prefix: &str) -> Result<String> {
    let name = unique(prefix);
    let namespace = object(json!({"metadata": {"name": name}}));
    Api::<Namespace>::all(admin.clone()).create(&create(), &namespace).await?;
    wait_until_usable(admin, &name).await?;
    Ok(name)
}

/// Makes a namespace that is there a research namespace, as its people and the operator do it together.
pub async fn adopt(admin: &Client, operator: &Client, name: &str) -> Result<()> {
    adopt_with(admin, operator, name, json!({})).await
}

async fn adopt_with(admin: &Client, operator: &Client, name: &str, labels: Value) -> Result<()> {
    let annotated = json!({"metadata": {"annotations": {labels::ADOPT: name}}});
    merge(&Api::<Namespace>::all(admin.clone()), name, annotated).await?;
    let mut all = namespace_labels(name);
    json_merge(&mut all, &labels);
    merge(&Api::<Namespace>::all(operator.clone()), name, json!({"metadata": {"labels": all}})).await?;
    Ok(())
}

async fn wait_until_usable(client: &Client, namespace: &str) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    eventually("the default ServiceAccount", async || Ok(accounts.get("default").await.map(|_| ())?)).await
}

pub async fn service_account(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let account = object(json!({"metadata": {"name": name}}));
    Api::<ServiceAccount>::namespaced(client.clone(), namespace).create(&create(), &account).await?;
    Ok(())
}

/// A pod that the restricted Pod Security Standard admits.
pub fn pod_json(name: &str, account: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "serviceAccountName": account,
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container_json("main")],
        },
    })
}

pub fn container_json(name: &str) -> Value {
    json!({
        "name": name,
        "image": "example.com/image:1",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    })
}

pub fn pod(name: &str, account: &str) -> Pod {
    object(pod_json(name, account))
}

/// A pod with one more thing in its spec.
pub fn pod_with(name: &str, account: &str, pointer: &str, value: Value) -> Pod {
    let mut pod = pod_json(name, account);
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
    pod["spec"].pointer_mut(parent).expect("the parent is there")[key] = value;
    object(pod)
}

pub fn label_of(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get(labels::SERVICE_ACCOUNT).map(String::as_str)
}

/// That Kubernetes' own controllers did their work in a new namespace.
pub async fn wait_for_root_ca(admin: &Client, namespace: &str) -> Result<()> {
    let configs: Api<ConfigMap> = Api::namespaced(admin.clone(), namespace);
    eventually("kube-root-ca.crt", async || Ok(configs.get("kube-root-ca.crt").await.map(|_| ())?)).await
}

pub async fn wait_until_gone(admin: &Client, namespace: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    eventually("the namespace to be gone", async || {
        let found = namespaces.get_opt(namespace).await?;
        ensure!(found.is_none(), "it is still there: {:?}", found.and_then(|n| n.status));
        Ok(())
    })
    .await
}

/// A request that kube has no method for.
pub fn http_post(path: &str, body: Vec<u8>) -> http::Request<Vec<u8>> {
    http::Request::post(path).header("content-type", "application/json").body(body).expect("a good request")
}

pub fn http_put(path: &str, body: Vec<u8>) -> http::Request<Vec<u8>> {
    http::Request::put(path).header("content-type", "application/json").body(body).expect("a good request")
}

/// A merge patch (RFC 7396), done here.
pub fn json_merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("an object").remove(key);
        } else {
            json_merge(&mut target[key], value);
        }
    }
}

/// A kind in which people ask or decide: admission says who they are.
pub struct Attested {
    pub resource: ApiResource,
    /// The field that says who.
    pub field: &'static str,
    /// The policy that writes and checks it.
    pub policy: &'static str,
    spec: Value,
}

impl Attested {
    /// An object of the kind, as its author writes it.
    pub fn json(&self, name: &str) -> Value {
        let (version, kind) = (&self.resource.api_version, &self.resource.kind);
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": self.spec})
    }

    /// The same, where its author says who they are.
    pub fn json_by(&self, name: &str, who: Value) -> Value {
        let mut json = self.json(name);
        json["spec"][self.field] = who;
        json
    }

    pub fn api(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), namespace, &self.resource)
    }

    /// Who it was, as the object says.
    pub fn who<'a>(&self, object: &'a DynamicObject) -> &'a Value {
        &object.data["spec"][self.field]
    }

    pub fn username<'a>(&self, object: &'a DynamicObject) -> Option<&'a str> {
        self.who(object)["username"].as_str()
    }

    /// Where an object of the kind is.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        let (version, plural) = (&self.resource.api_version, &self.resource.plural);
        format!("/apis/{version}/namespaces/{namespace}/{plural}/{name}")
    }
}

/// All such kinds, grants first.
pub fn attested() -> [Attested; 4] {
    fn of<K: Resource<DynamicType = ()>>(field: &'static str, policy: &'static str, spec: Value) -> Attested {
        Attested { resource: ApiResource::erase::<K>(&()), field, policy, spec }
    }
    let subjects = json!([{"kind": "User", "name": "alice"}]);
    let rule = json!({"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 443}]});
    let digest = format!("v1:sha256:{}", "0".repeat(64));
    let request = json!({"kind": "RoleGrant", "name": "debug", "uid": "a3c1f3a0-0000-4000-8000-000000000000"});
    let (field, policy) = ("requestedBy", "requester.cloister.dev");
    [
        of::<StorageAccessGrant>(
            field,
            policy,
            json!({"storage": "weights", "role": "reader", "subjects": subjects.clone()}),
        ),
        of::<EgressGrant>(field, policy, json!({"rule": rule})),
        of::<RoleGrant>(field, policy, json!({"role": "debugger", "subjects": subjects})),
        of::<AccessReview>(
            "reviewer",
            "reviewer.cloister.dev",
            json!({"requestRef": request, "digest": digest, "decision": "Approve", "comment": "agreed"}),
        ),
    ]
}

/// The kinds of grants.
pub fn grants() -> impl Iterator<Item = Attested> {
    attested().into_iter().filter(|kind| kind.field == "requestedBy")
}
