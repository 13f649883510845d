//! Applies a kustomization to a cluster, as `kubectl apply --server-side --kustomize` would, and waits until what it
//! brings is in force.
//!
//! It knows `resources` of a kustomization and nothing else, which is all that `deploy/` uses.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use cloister_api::labels;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt, discovery};
use serde::Deserialize;
use serde_json::{Value, json};

/// The field manager of what is installed.
pub const MANAGER: &str = "cloister-install";

const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(100);

/// What to install of a kustomization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// All of it.
    All,
    /// All but Deployments: the operator runs outside of the cluster, or not at all.
    WithoutWorkloads,
}

/// Applies the kustomization in `dir` (such as `deploy`), kinds first, and waits until the kinds are served and the
/// admission policies are in force. It may be repeated.
pub async fn install(client: &Client, dir: &Path, parts: Parts) -> Result<()> {
    apply(client, objects(dir, parts)?).await
}

/// The objects to install of the kustomization in `dir`: kinds and namespaces first, and otherwise in its order.
pub fn objects(dir: &Path, parts: Parts) -> Result<Vec<DynamicObject>> {
    let mut objects = load(dir)?;
    if parts == Parts::WithoutWorkloads {
        objects.retain(|object| kind(object) != "Deployment");
        // Admission lets a token that was given to no pod hold the Lease.
        let system =
            |object: &&mut DynamicObject| kind(object) == "Namespace" && object.name_any() == labels::SYSTEM_NAMESPACE;
        for namespace in objects.iter_mut().filter(system) {
            namespace.labels_mut().insert(labels::OPERATOR.to_owned(), labels::OUTSIDE.to_owned());
        }
    }
    // What others need comes first; the order is kept otherwise.
    objects.sort_by_key(|object| match kind(object) {
        "CustomResourceDefinition" | "Namespace" => 0,
        _ => 1,
    });
    Ok(objects)
}

/// Applies these objects, in their order, and waits as [`install`] does.
pub async fn apply(client: &Client, objects: Vec<DynamicObject>) -> Result<()> {
    let (first, rest): (Vec<_>, Vec<_>) =
        objects.into_iter().partition(|object| matches!(kind(object), "CustomResourceDefinition" | "Namespace"));

    let mut kinds = Kinds::default();
    for object in &first {
        kinds.apply(client, object).await?;
    }
    for object in first.iter().filter(|object| kind(object) == "CustomResourceDefinition") {
        wait_until_established(client, &object.name_any()).await?;
    }
    for object in &rest {
        kinds.apply(client, object).await?;
    }
    if rest.iter().any(|object| kind(object).ends_with("AdmissionPolicyBinding")) {
        wait_until_in_force(client).await?;
    }
    Ok(())
}

/// The objects of the kustomization in `dir`, in its order.
pub fn load(dir: &Path) -> Result<Vec<DynamicObject>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Kustomization {
        #[serde(rename = "apiVersion")]
        api_version: String,
        kind: String,
        resources: Vec<String>,
    }

    let file = dir.join("kustomization.yaml");
    let kustomization: Kustomization = serde_saphyr::from_str(&read(&file)?)
        .with_context(|| format!("{} uses more than `resources`, or is no kustomization", file.display()))?;
    let mut objects = Vec::new();
    for resource in kustomization.resources {
        let path = dir.join(resource);
        if path.is_dir() {
            objects.extend(load(&path)?);
            continue;
        }
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&read(&path)?).with_context(|| format!("{} is not YAML", path.display()))?;
        for document in documents.into_iter().filter(|document| !document.is_null()) {
            let object: DynamicObject = serde_json::from_value(document)
                .with_context(|| format!("{} holds something that is no object", path.display()))?;
            ensure!(object.types.is_some(), "{} holds an object without a kind", path.display());
            objects.push(object);
        }
    }
    Ok(objects)
}

/// One object in YAML.
pub fn parse(yaml: &str) -> Result<Value> {
    serde_saphyr::from_str(yaml).context("it is not YAML")
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| types.kind.as_str())
}

/// The kinds met so far, so that each is looked up once.
#[derive(Default)]
struct Kinds(BTreeMap<(String, String), (ApiResource, bool)>);

impl Kinds {
    async fn apply(&mut self, client: &Client, object: &DynamicObject) -> Result<()> {
        let what = format!("{} {}", kind(object), object.name_any());
        let api = self.api(client, object).await.with_context(|| format!("cannot find the kind of {what}"))?;
        api.patch(&object.name_any(), &PatchParams::apply(MANAGER).force(), &Patch::Apply(object))
            .await
            .with_context(|| format!("cannot apply {what}"))?;
        Ok(())
    }

    async fn api(&mut self, client: &Client, object: &DynamicObject) -> Result<Api<DynamicObject>> {
        let types = object.types.clone().unwrap_or_default();
        let key = (types.api_version.clone(), types.kind.clone());
        if !self.0.contains_key(&key) {
            let gvk = GroupVersionKind::try_from(&types)?;
            let (resource, capabilities) = discovery::pinned_kind(client, &gvk).await?;
            let namespaced = capabilities.scope == discovery::Scope::Namespaced;
            self.0.insert(key.clone(), (resource, namespaced));
        }
        let (resource, namespaced) = &self.0[&key];
        Ok(match (namespaced, object.namespace()) {
            (true, Some(namespace)) => Api::namespaced_with(client.clone(), &namespace, resource),
            (true, None) => bail!("it is namespaced, and names no namespace"),
            (false, _) => Api::all_with(client.clone(), resource),
        })
    }
}

/// Waits until the API server serves a kind.
pub async fn wait_until_established(client: &Client, name: &str) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let what = format!("the kind {name} to be served");
    eventually(&what, async || {
        let conditions = api.get(name).await?.status.and_then(|status| status.conditions);
        let established = conditions.into_iter().flatten().any(|c| c.type_ == "Established" && c.status == "True");
        ensure!(established, "it is not Established");
        Ok(())
    })
    .await
}

/// Waits until the API server serves all kinds that are among these objects.
pub async fn wait_until_served(client: &Client, objects: &[DynamicObject]) -> Result<()> {
    for definition in objects.iter().filter(|object| kind(object) == "CustomResourceDefinition") {
        let text = |at| definition.data.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let version = format!("{}/{}", text("/spec/group"), text("/spec/versions/0/name"));
        let plural = text("/spec/names/plural");
        eventually(&format!("the kind {plural} to be served"), async || {
            let served = client.list_api_group_resources(&version).await?.resources;
            ensure!(served.iter().any(|resource| resource.name == plural), "it is not served");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Waits until the controller manager has checked all policies and said so in their status.
pub async fn wait_until_checked(client: &Client) -> Result<()> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    eventually("the policies to be checked", async || {
        let all = policies.list(&ListParams::default()).await?.items;
        let is_checked = |policy: &ValidatingAdmissionPolicy| {
            policy.status.as_ref().is_some_and(|status| status.observed_generation == policy.metadata.generation)
        };
        let unchecked = all.iter().find(|policy| !is_checked(policy)).map(ResourceExt::name_any);
        ensure!(unchecked.is_none(), "{unchecked:?} is not");
        Ok(())
    })
    .await
}

/// The API server sees policies and bindings through watches, in the order in which they were written: when the ones
/// that are written last are in force, all are. They concern one ConfigMap that is never made.
pub async fn wait_until_in_force(client: &Client) -> Result<()> {
    // A name of its own: what an earlier installation deleted may be in force for a moment still.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let name = format!("cloister-install-probe-{}-{now}", std::process::id());
    let group = "admissionregistration.k8s.io/v1";
    let constraints = json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
        "resourceRules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"],
            "resourceNames": [name],
        }],
    });
    let mutate = |expression: &str| json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]);
    let mutating = format!("mutating.{name}");
    let probes: Vec<DynamicObject> = [
        // Parameters are looked up by a discovery of their own, which may not know a new kind yet.
        json!({"apiVersion": group, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "Never", "matchConstraints": constraints,
            "paramKind": {"apiVersion": "cloister.dev/v1alpha1", "kind": "GrantMount"},
            "mutations": mutate("Object{}"),
        }}),
        json!({"apiVersion": group, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name}, "spec": {
            "policyName": name, "paramRef": {"selector": {}, "parameterNotFoundAction": "Allow"},
        }}),
        json!({"apiVersion": group, "kind": "MutatingAdmissionPolicy", "metadata": {"name": mutating}, "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "Never", "matchConstraints": constraints,
            "mutations": mutate("Object{metadata: Object.metadata{labels: {'probe': 'seen'}}}"),
        }}),
        json!({"apiVersion": group, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": mutating}, "spec": {
            "policyName": mutating,
        }}),
        json!({"apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": {
            "failurePolicy": "Fail", "matchConstraints": constraints,
            "validations": [{"expression": "!('probe' in object.metadata.?labels.orValue({}))", "message": "probed"}],
        }}),
        json!({"apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name}, "spec": {
            "policyName": name, "validationActions": ["Deny"],
        }}),
    ]
    .into_iter()
    .map(serde_json::from_value)
    .collect::<Result<_, _>>()?;

    let mut kinds = Kinds::default();
    for probe in &probes {
        kinds.apply(client, probe).await?;
    }
    let result = async {
        let configs: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
        let mut probe = ConfigMap::default();
        probe.metadata.name = Some(name);
        let dry_run = PostParams { dry_run: true, ..Default::default() };
        // It is refused for its label, which it does not have until the other one is in force.
        eventually("the admission policies to be in force", async || match configs.create(&dry_run, &probe).await {
            Err(kube::Error::Api(status)) if status.message.contains("probed") => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => bail!("the API server does not know them yet"),
        })
        .await?;
        wait_until_written_by_admission(client).await
    }
    .await;
    for probe in probes.iter().rev() {
        let api = kinds.api(client, probe).await?;
        let _ = api.delete(&probe.name_any(), &DeleteParams::default()).await;
    }
    result
}

/// A policy that writes into one of our kinds needs its schema, which the API server's policies learn later than the
/// rest of it, and for each kind by itself.
async fn wait_until_written_by_admission(client: &Client) -> Result<()> {
    let subjects = json!([{"kind": "User", "name": "probe"}]);
    let rule = json!({"name": "probe", "networks": ["203.0.113.0/24"], "ports": [{"port": 443}]});
    let request = json!({"kind": "RoleGrant", "name": "probe", "uid": "probe"});
    let digest = format!("v1:sha256:{}", "0".repeat(64));
    for (kind, identity, spec) in [
        ("StorageAccessGrant", "requestedBy", json!({"storage": "probe", "role": "probe", "subjects": subjects})),
        ("EgressGrant", "requestedBy", json!({"rule": rule})),
        ("RoleGrant", "requestedBy", json!({"role": "probe", "subjects": subjects})),
        ("AccessReview", "reviewer", json!({"requestRef": request, "digest": digest, "decision": "Deny"})),
    ] {
        let gvk = GroupVersionKind::gvk("cloister.dev", "v1alpha1", kind);
        let (resource, _) = discovery::pinned_kind(client, &gvk).await?;
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
        let probe: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": kind,
            "metadata": {"name": "cloister-install-probe"}, "spec": spec,
        }))?;
        let dry_run = PostParams { dry_run: true, ..Default::default() };
        eventually(&format!("{identity} of {kind}s to be stamped"), async || {
            let stamped = api.create(&dry_run, &probe).await?;
            let username = stamped.data.pointer(&format!("/spec/{identity}/username"));
            ensure!(username.is_some(), "the policy does not write it yet");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn eventually(what: &str, mut check: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let began = Instant::now();
    loop {
        match check().await {
            Ok(()) => return Ok(()),
            Err(error) if began.elapsed() > PATIENCE => {
                return Err(error.context(format!("waited {} s in vain for {what}", PATIENCE.as_secs())));
            }
            Err(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}
