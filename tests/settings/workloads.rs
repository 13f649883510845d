//! What pods, Services and claims of research namespaces may reach for, where CloisterConfig lists it.

use crate::place::Place;
use anyhow::{Result, ensure};
use cloister_api::{CloisterConfig, ResearchNamespace, labels};
use cloister_tests::eventually;
use k8s_openapi::api::{
    core::v1::{Namespace, PersistentVolumeClaim, Pod, Service},
    scheduling::v1::PriorityClass,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

fn pod(more: Value) -> Result<Pod> {
    let container = json!({
        "name": "main", "image": "example.com/image:1",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    });
    let mut spec = json!({
        "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    Ok(serde_json::from_value(json!({"metadata": {"name": "one"}, "spec": spec}))?)
}

struct Case {
    pods: Api<Pod>,
    services: Api<Service>,
    claims: Api<PersistentVolumeClaim>,
}

impl Case {
    /// What admission says to each thing that could be listed, in an order that is always the same.
    async fn answers(&self) -> Result<Vec<kube::Result<()>>> {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let mut answers = Vec::new();
        for pod in [
            pod(json!({"priorityClassName": "settings-high"}))?,
            pod(json!({"tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}]}))?,
            pod(json!({"volumes": [{"name": "v", "csi": {"driver": "d.example.com"}}]}))?,
        ] {
            answers.push(self.pods.create(&dry, &pod).await.map(drop));
        }
        let service = json!({"metadata": {"name": "web"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
        answers.push(self.services.create(&dry, &serde_json::from_value(service)?).await.map(drop));
        let resources = json!({"requests": {"storage": "1Gi"}});
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": resources, "volumeName": "shared", "storageClassName": ""});
        let mut by_class = spec.clone();
        by_class["volumeName"] = serde_json::Value::Null;
        by_class["storageClassName"] = json!("fast");
        for spec in [spec, by_class] {
            let claim = json!({"metadata": {"name": "data"}, "spec": spec});
            answers.push(self.claims.create(&dry, &serde_json::from_value(claim)?).await.map(drop));
        }
        Ok(answers)
    }

    async fn until_all_are_refused(&self, by: &str) -> Result<()> {
        eventually(&format!("all to be refused by {by}"), async || {
            let kinds =
                ["pod-workloads", "pod-workloads", "pod-workloads", "services", "volume-claims", "volume-claims"];
            for (answer, kind) in self.answers().await?.into_iter().zip(kinds) {
                let Err(kube::Error::Api(status)) = answer else { anyhow::bail!("{kind} was not asked") };
                let binding = format!("with binding '{kind}{by}.cloister.dev' denied request");
                ensure!(status.code == 403 && status.message.contains(&binding), "{}", status.message);
            }
            Ok(())
        })
        .await
    }
}

#[tokio::test]
async fn what_is_listed_is_admitted_and_nothing_else() -> Result<()> {
    let place = Place::new("workloads").await?;
    let (admin, name) = (place.scene.admin.clone(), &place.name);
    let class = json!({"metadata": {"name": "settings-high"}, "value": 1000});
    Api::<PriorityClass>::all(admin.clone()).create(&PostParams::default(), &serde_json::from_value(class)?).await?;
    let research = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace", "metadata": {"name": name},
        "spec": {"tier": "Standard"},
    });
    let all: Api<ResearchNamespace> = place.scene.all();
    all.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&research)).await?;
    place.scene.until_condition(&all, name, "Enforced", "True").await?;
    let case = Case {
        pods: Api::namespaced(admin.clone(), name),
        services: Api::namespaced(admin.clone(), name),
        claims: Api::namespaced(admin.clone(), name),
    };
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let until_labelled = async |listed: bool| {
        eventually("the label", async || {
            let labels = namespaces.get(name).await?.metadata.labels.unwrap_or_default();
            ensure!(labels.contains_key(labels::WORKLOADS) == listed, "{labels:?}");
            Ok(())
        })
        .await
    };
    case.until_all_are_refused("").await?;

    let listed = json!({
        "priorityClasses": ["settings-high"], "serviceTypes": ["ClusterIP", "LoadBalancer"], "tolerations": ["dedicated"],
        "volumes": ["csi:d.example.com", "persistentVolume:shared", "storageClass:fast"],
    });
    place.configure(json!({"workloads": listed})).await?;
    until_labelled(true).await?;
    eventually("what is listed to be admitted", async || {
        for answer in case.answers().await? {
            // Pod Security admits inline volumes of every driver.
            answer?;
        }
        Ok(())
    })
    .await?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    for more in [
        json!({"priorityClassName": "system-node-critical"}),
        json!({"tolerations": [{"operator": "Exists"}]}),
        json!({"volumes": [{"name": "v", "csi": {"driver": "other.example.com"}}]}),
    ] {
        let Err(kube::Error::Api(status)) = case.pods.create(&dry, &pod(more)?).await else {
            anyhow::bail!("it is not listed, and was admitted");
        };
        ensure!(status.message.contains("with binding 'pod-workloads-listed.cloister.dev'"), "{}", status.message);
    }

    // Other lists are in force at once.
    place.configure(json!({"workloads": {"tolerations": ["other"]}})).await?;
    case.until_all_are_refused("-listed").await?;
    // Where the settings are gone nothing is admitted that they might have forbidden, and then what is admitted by itself.
    place.scene.all::<CloisterConfig>().delete("cloister", &DeleteParams::default()).await?;
    until_labelled(false).await?;
    case.until_all_are_refused("").await?;
    eventually("an ordinary pod to be admitted", async || {
        Ok(case.pods.create(&dry, &pod(json!({}))?).await.map(drop)?)
    })
    .await
}
