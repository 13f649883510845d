//! Quotas and limits: what the schema of a ResearchNamespace takes of them is what the API server takes of a ResourceQuota
//! and of a LimitRange.

use crate::support::*;
use anyhow::{Result, ensure};
use cloister_tests::{cluster, ours::ours, unique};
use fastrand::Rng;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::DynamicObject,
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Map, Value, json};

const KEYS: [&str; 28] = [
    "cpu",
    "memory",
    "pods",
    "requests.cpu",
    "limits.memory",
    "requests.storage",
    "storage",
    "services",
    "secrets",
    "gpu",
    "nvidia.com/gpu",
    "requests.nvidia.com/gpu",
    "limits.nvidia.com/gpu",
    "count/jobs.batch",
    "count/pods",
    "count/",
    "hugepages-2Mi",
    "requests.hugepages-2Mi",
    "requests.cpu ",
    " pods",
    "Pods",
    "a b/c",
    "example.com/",
    "/gpu",
    "gold.storageclass.storage.k8s.io/requests.storage",
    "services.nodeports",
    "persistentvolumeclaims",
    "kubernetes.io/x",
];

fn value(random: &mut Rng) -> Value {
    let texts = [
        "0", "1", "2", "1.5", "500m", "2000m", "1Gi", "2Gi", "10Ei", "1e3", ".5", "1.", "-1", "-1m", "+3", "", "1GB",
        "ten", "1e", "0.1m",
    ];
    match random.u8(..8) {
        0 => json!(random.i64(-2..5)),
        _ => json!(texts[random.usize(..texts.len())]),
    }
}

fn resources(random: &mut Rng, keys: &[&str]) -> Value {
    let of = |random: &mut Rng| (keys[random.usize(..keys.len())].to_owned(), value(random));
    let count = random.usize(1..3);
    Value::Object((0..count).map(|_| of(random)).collect::<Map<String, Value>>())
}

fn limits(random: &mut Rng) -> Value {
    let keys = ["cpu", "memory", "cpu", "memory", "storage", "nvidia.com/gpu", "gpu", "hugepages-2Mi"];
    let kinds = ["Container", "Pod", "PersistentVolumeClaim"];
    let mut item = json!({"type": kinds[random.usize(..kinds.len())]});
    for field in ["default", "defaultRequest", "max", "min", "maxLimitRequestRatio"] {
        if random.u8(..3) == 0 {
            item[field] = resources(random, &keys);
        }
    }
    item
}

/// Whether an object would be taken, or in which words it is refused.
async fn verdict<T>(answer: kube::Result<T>) -> Result<Result<(), String>> {
    match answer {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => Ok(Err(status.message.clone())),
        Err(error) => Err(error.into()),
    }
}

/// What only the API server can tell: how ratios go with minima and maxima, and what may not be overcommitted.
fn is_beyond_a_rule(refusal: &str) -> bool {
    ["is greater than max/min", "must equal to defaultRequest", "must be specified for", "must be an integer"]
        .iter()
        .any(|words| refusal.contains(words))
}

#[tokio::test]
async fn what_kubernetes_refuses_of_quotas_and_limits_is_refused_in_words_that_help() -> Result<()> {
    let admin = cluster().await.admin().await?;
    let plain = unique("plain");
    let namespace: Namespace = object(json!({"metadata": {"name": plain}}));
    Api::all(admin.clone()).create(&create(), &namespace).await?;
    let ours = ours(&admin, "ResearchNamespace", None);
    let core = |kind| ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind));
    let quotas: Api<DynamicObject> = Api::namespaced_with(admin.clone(), &plain, &core("ResourceQuota"));
    let ranges: Api<DynamicObject> = Api::namespaced_with(admin.clone(), &plain, &core("LimitRange"));
    let seed = 11;
    let mut random = Rng::with_seed(seed);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..400 {
        let (field, spec, theirs, input) = if round % 2 == 0 {
            let hard = resources(&mut random, &KEYS);
            ("quota", hard.clone(), &quotas, json!({"hard": hard}))
        } else {
            let item = limits(&mut random);
            ("limitRange", json!([item]), &ranges, json!({"limits": [item]}))
        };
        let kind = if round % 2 == 0 { "ResourceQuota" } else { "LimitRange" };
        let theirs_object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, "spec": input});
        let theirs = verdict(theirs.create(&dry_run(), &object(theirs_object)).await).await?;
        let research = json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace", "metadata": {"name": unique("q")},
            "spec": {"tier": "Standard", field: spec},
        });
        let ours = verdict(ours.create(&dry_run(), &object(research)).await).await?;
        if let Err(words) = &ours {
            let is_ours = !has_words_that_are_not_ours(words);
            ensure!(is_ours, "seed {seed}: {spec} is refused in words that are not ours: {words}");
        }
        match (&ours, &theirs) {
            (Ok(()), Ok(())) => taken += 1,
            (Err(words), Err(_)) => {
                refused += 1;
                ensure!(words.contains(&format!("spec.{field}")), "it does not say where: {words}");
                let helps = ["must", "takes no", "needs", "cannot"].iter().any(|word| words.contains(word));
                ensure!(helps, "nothing to go by: {words}");
            }
            (Ok(()), Err(words)) => {
                ensure!(is_beyond_a_rule(words), "seed {seed}: {spec} is taken, and Kubernetes says: {words}");
            }
            // Kubernetes takes a limit below zero, under which nothing is admitted.
            (Err(words), Ok(())) if field == "limitRange" && spec.to_string().contains('-') => {
                ensure!(words.contains("not negative"), "seed {seed}: {spec} is refused: {words}");
            }
            // And counts nothing by it.
            (Err(words), Ok(())) if field == "quota" && words.contains("limits nothing") => refused += 1,
            (Err(words), Ok(())) => {
                anyhow::bail!("seed {seed}: Kubernetes takes {spec}, and here it is refused: {words}")
            }
        }
    }
    ensure!(taken > 20 && refused > 100, "seed {seed}: {taken} taken and {refused} refused show nothing");
    Ok(())
}
