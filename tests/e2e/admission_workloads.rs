//! What pods, Services and claims of research namespaces may reach for, where CloisterConfig lists nothing.

use crate::support::*;
use anyhow::{Result, ensure};
use cloister_tests::{assert_denied, cluster, eventually};
use k8s_openapi::api::{
    core::v1::{PersistentVolumeClaim, Pod, Service},
    scheduling::v1::PriorityClass,
};
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};

const PODS: &str = "pod-workloads.cloister.dev";
const SERVICES: &str = "services.cloister.dev";
const CLAIMS: &str = "volume-claims.cloister.dev";

/// Every type of volume of the Pod API.
fn volumes() -> Vec<(&'static str, Value)> {
    let disk = || json!({"diskName": "d", "diskURI": "https://account.blob.core.windows.net/disks/d.vhd"});
    vec![
        ("awsElasticBlockStore", json!({"volumeID": "v"})),
        ("azureDisk", disk()),
        ("azureFile", json!({"secretName": "s", "shareName": "s"})),
        ("cephfs", json!({"monitors": ["192.0.2.1"]})),
        ("cinder", json!({"volumeID": "v"})),
        ("configMap", json!({"name": "c"})),
        ("csi", json!({"driver": "d.example.com"})),
        ("downwardAPI", json!({"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]})),
        ("emptyDir", json!({})),
        ("ephemeral", json!({"volumeClaimTemplate": {"spec": claim(json!({}))["spec"]}})),
        ("fc", json!({"targetWWNs": ["w"], "lun": 0})),
        ("flexVolume", json!({"driver": "d/d"})),
        ("flocker", json!({"datasetName": "d"})),
        ("gcePersistentDisk", json!({"pdName": "p"})),
        ("glusterfs", json!({"endpoints": "e", "path": "p"})),
        ("hostPath", json!({"path": "/"})),
        ("image", json!({"reference": "example.com/image:1"})),
        ("iscsi", json!({"targetPortal": "192.0.2.1", "iqn": "iqn.2001-04.com.example:disk", "lun": 0})),
        ("nfs", json!({"server": "192.0.2.1", "path": "/"})),
        ("persistentVolumeClaim", json!({"claimName": "c"})),
        ("photonPersistentDisk", json!({"pdID": "p"})),
        ("portworxVolume", json!({"volumeID": "v"})),
        ("projected", json!({"sources": [{"secret": {"name": "s"}}, {"serviceAccountToken": {"path": "t"}}]})),
        ("quobyte", json!({"registry": "r:1", "volume": "v"})),
        ("rbd", json!({"monitors": ["192.0.2.1"], "image": "i"})),
        ("scaleIO", json!({"gateway": "g", "system": "s", "secretRef": {"name": "s"}, "volumeName": "v"})),
        ("secret", json!({"secretName": "s"})),
        ("storageos", json!({"volumeName": "v"})),
        ("vsphereVolume", json!({"volumePath": "v"})),
    ]
}

const OF_THE_NAMESPACE: [&str; 7] =
    ["configMap", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];

fn claim(more: Value) -> Value {
    let mut claim = json!({
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    json_merge(&mut claim, &more);
    claim
}

async fn place() -> Result<(Client, String)> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    Ok((admin, research_namespace(&operator, "workloads").await?))
}

#[tokio::test]
async fn a_pod_uses_volumes_of_its_own_namespace_alone() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let restricted = research_namespace(&operator, "volumes").await?;
    // One door each: here Pod Security leaves all types to ours.
    let lax = lax_namespace(&admin, &operator, "volumes-lax").await?;
    // Not every type can be written any more: those that cannot are refused by their validation.
    let schema = serde_json::to_value(volumes().iter().map(|(type_, _)| *type_).collect::<Vec<_>>())?;
    ensure!(schema.as_array().is_some_and(|all| all.len() == 29));
    for (type_, source) in volumes() {
        let pod = pod_with("one", "default", "/volumes", json!([{"name": "v", type_: source}]));
        let here = Api::<Pod>::namespaced(admin.clone(), &restricted).create(&dry_run(), &pod).await;
        let there = Api::<Pod>::namespaced(admin.clone(), &lax).create(&dry_run(), &pod).await;
        if OF_THE_NAMESPACE.contains(&type_) {
            here?;
            there?;
            continue;
        }
        let Err(kube::Error::Api(refused)) = here else { anyhow::bail!("{type_} was not refused") };
        ensure!(refused.code == 403, "{type_}: {refused:?}");
        assert_denied(there, PODS);
    }
    let certificate = json!({"podCertificate": {"signerName": "example.com/signer", "keyType": "ED25519", "credentialBundlePath": "c"}});
    let pod = pod_with("one", "default", "/volumes", json!([{"name": "v", "projected": {"sources": [certificate]}}]));
    assert_denied(Api::<Pod>::namespaced(admin.clone(), &restricted).create(&dry_run(), &pod).await, PODS);
    Ok(())
}

#[tokio::test]
async fn a_pod_has_no_rank_above_others() -> Result<()> {
    let (admin, namespace) = place().await?;
    let pods: Api<Pod> = Api::namespaced(admin.clone(), &namespace);
    let class: PriorityClass = object(json!({"metadata": {"name": "workloads-high"}, "value": 1000}));
    Api::<PriorityClass>::all(admin.clone()).create(&create(), &class).await?;
    for class in ["system-node-critical", "system-cluster-critical", "workloads-high"] {
        let pod = pod_with("ranked", "default", "/priorityClassName", json!(class));
        eventually("the class to be known", async || {
            let said = pods.create(&dry_run(), &pod).await.err().map(|error| error.to_string()).unwrap_or_default();
            ensure!(!said.contains("no PriorityClass"), "{said}");
            Ok(())
        })
        .await?;
        assert_denied(pods.create(&dry_run(), &pod).await, PODS);
    }
    // A number alone is refused by Kubernetes itself.
    let pod = pod_with("ranked", "default", "/priority", json!(2_000_000_000));
    ensure!(pods.create(&dry_run(), &pod).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_pod_tolerates_no_taint_that_keeps_nodes_for_others() -> Result<()> {
    let (admin, namespace) = place().await?;
    let pods: Api<Pod> = Api::namespaced(admin.clone(), &namespace);
    let with = |toleration: &Value| pod_with("tolerant", "default", "/tolerations", json!([toleration]));
    let foreign = [
        json!({"operator": "Exists"}),
        json!({"operator": "Exists", "effect": "NoExecute"}),
        json!({"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}),
        json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoSchedule"}),
        json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists"}),
        json!({"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}),
        json!({"key": "dedicated", "value": "others", "effect": "NoSchedule"}),
        json!({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}),
    ];
    for toleration in &foreign {
        assert_denied(pods.create(&dry_run(), &with(toleration)).await, PODS);
    }
    let ask = "policy administrator (ClusterRole cloister:policy-admin)";
    let keyless = format!(
        "the pod tolerates the taints of every key, because one of its tolerations has no key; name the key of one taint there, \
         which a {ask} lists in workloads.tolerations, or leave the toleration out"
    );
    let of_a_key = format!(
        "the pod tolerates the taint \"dedicated\" of nodes that are kept for others; leave the toleration out, or ask a {ask} to \
         list the key of the taint in workloads.tolerations"
    );
    for (toleration, says) in [(&foreign[0], &keyless), (&foreign[1], &keyless), (&foreign[6], &of_a_key)] {
        let Err(kube::Error::Api(status)) = pods.create(&dry_run(), &with(toleration)).await else {
            anyhow::bail!("{toleration} should have been refused");
        };
        ensure!(status.message.ends_with(says.as_str()), "{}", status.message);
    }
    for by_kubernetes in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let toleration =
            json!({"key": by_kubernetes, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30});
        pods.create(&dry_run(), &with(&toleration)).await?;
    }
    // The device that a pod asks for brings its own.
    let mut pod = with(&foreign[7]);
    let container = &mut pod.spec.as_mut().expect("a spec").containers[0];
    container.resources = Some(object(json!({"limits": {"nvidia.com/gpu": "1"}})));
    pods.create(&dry_run(), &pod).await?;
    // Of none of a device there is enough on every node.
    let taint = json!({"key": "company.com/secure-nodes", "operator": "Exists", "effect": "NoSchedule"});
    for none in ["0", "0m"] {
        let mut pod = with(&taint);
        let container = &mut pod.spec.as_mut().expect("a spec").containers[0];
        container.resources = Some(object(json!({"limits": {"company.com/secure-nodes": none}})));
        assert_denied(pods.create(&dry_run(), &pod).await, PODS);
    }
    // Nor later.
    let running = pods.create(&create(), &pod_with("tolerant", "default", "/volumes", json!([]))).await?;
    let mut tolerations = json!(running.spec.expect("a spec").tolerations);
    tolerations.as_array_mut().expect("Kubernetes adds some").push(foreign[0].clone());
    assert_denied(merge(&pods, "tolerant", json!({"spec": {"tolerations": tolerations}})).await, PODS);
    merge(&pods, "tolerant", json!({"metadata": {"labels": {"a": "b"}}})).await?;
    Ok(())
}

#[tokio::test]
async fn a_pod_joins_no_further_network() -> Result<()> {
    let (admin, namespace) = place().await?;
    let pods: Api<Pod> = Api::namespaced(admin.clone(), &namespace);
    pods.create(&create(), &pod("joins", "default")).await?;
    for key in [
        "k8s.v1.cni.cncf.io/networks",
        "v1.multus-cni.io/default-network",
        "cni.projectcalico.org/ipAddrs",
        "networking.gke.io/interfaces",
        "ipam.cilium.io/ip-pool",
    ] {
        let mut pod = pod("one", "default");
        pod.metadata.annotations = Some([(key.to_owned(), "other".to_owned())].into());
        assert_denied(pods.create(&dry_run(), &pod).await, PODS);
        assert_denied(merge(&pods, "joins", json!({"metadata": {"annotations": {key: "other"}}})).await, PODS);
    }
    merge(&pods, "joins", json!({"metadata": {"annotations": {"example.com/a": "b"}}})).await?;
    Ok(())
}

#[tokio::test]
async fn a_service_leads_to_pods_from_inside_the_cluster_alone() -> Result<()> {
    let (admin, namespace) = place().await?;
    let services: Api<Service> = Api::namespaced(admin.clone(), &namespace);
    let service = |more: Value| {
        let mut service =
            json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
        json_merge(&mut service, &json!({"spec": more}));
        object::<Service>(service)
    };
    for more in [
        json!({"type": "NodePort"}),
        json!({"type": "LoadBalancer"}),
        json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/lb"}),
        json!({"type": "ExternalName", "externalName": "example.com", "selector": null, "ports": null}),
        json!({"externalIPs": ["203.0.113.7"]}),
        json!({"loadBalancerIP": "203.0.113.7"}),
    ] {
        assert_denied(services.create(&dry_run(), &service(more)).await, SERVICES);
    }
    services.create(&create(), &service(json!({}))).await?;
    for more in [json!({"type": "NodePort"}), json!({"type": "LoadBalancer"}), json!({"externalIPs": ["203.0.113.7"]})]
    {
        assert_denied(merge(&services, "web", json!({"spec": more})).await, SERVICES);
    }
    let address = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}});
    let taken = merge_at(&services, "status", "web", address).await;
    ensure!(taken.is_err(), "CVE-2020-8554 by the status");
    merge(&services, "web", json!({"spec": {"ports": [{"port": 81}]}})).await?;
    let headless = json!({"metadata": {"name": "headless"}, "spec": {"clusterIP": "None", "selector": {"app": "web"}}});
    services.create(&create(), &object(headless)).await?;
    Ok(())
}

#[tokio::test]
async fn a_claim_takes_no_volume_of_others() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let namespace = plain_namespace(&admin, "claims").await?;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(admin.clone(), &namespace);
    // One from before may be changed, and ended.
    claims.create(&create(), &object(claim(json!({"spec": {"storageClassName": "fast"}})))).await?;
    adopt(&admin, &operator, &namespace).await?;
    eventually("the policy to be asked", async || {
        cloister_tests::denied(
            claims.create(&dry_run(), &object(claim(json!({"metadata": {"name": "x"}})))).await,
            CLAIMS,
        )
    })
    .await?;
    merge(&claims, "data", json!({"metadata": {"labels": {"a": "b"}}})).await?;
    let source = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
    for more in [
        json!({"spec": {"volumeName": "others"}}),
        json!({"spec": {"selector": {"matchLabels": {"team": "others"}}}}),
        json!({"spec": {"storageClassName": ""}}),
        json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": ""}}}),
        json!({"spec": {"storageClassName": "", "volumeName": "others"}}),
        // A class may be a mere name on the volumes of another team.
        json!({"spec": {"storageClassName": "team-c-nfs"}}),
        // There is no default: none is a volume that is there.
        json!({}),
    ] {
        assert_denied(claims.create(&dry_run(), &object(claim(more))).await, CLAIMS);
    }
    let unlisted = claim(json!({"spec": {"storageClassName": "team-c-nfs"}}));
    let Err(kube::Error::Api(status)) = claims.create(&dry_run(), &object(unlisted)).await else {
        anyhow::bail!("its StorageClass is not listed, and it was admitted");
    };
    let says = "StorageClass team-c-nfs is not listed: a claim of it may take a volume that is another team's; name a \
                StorageClass that is listed, or ask a policy administrator (ClusterRole cloister:policy-admin) to list, in \
                workloads.volumes as \"storageClass:NAME\", a StorageClass that provisions a new volume for each claim";
    ensure!(status.message.ends_with(says), "{}", status.message);
    assert_denied(claims.create(&dry_run(), &object(claim(json!({"spec": {"dataSourceRef": source}})))).await, CLAIMS);
    assert_denied(merge(&claims, "data", json!({"spec": {"volumeName": "others"}})).await, CLAIMS);
    // The binder of Kubernetes writes down which volume it gave.
    let binder = cluster().await.service_account("kube-system", "persistent-volume-binder").await?;
    let binder: Api<PersistentVolumeClaim> = Api::namespaced(binder, &namespace);
    eventually("the volume to be written down", async || {
        let mut claim = claims.get("data").await?;
        claim.spec.as_mut().expect("a spec").volume_name = Some("given".into());
        Ok(binder.replace("data", &PostParams::default(), &claim).await?)
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn elsewhere_nothing_of_it_is_refused() -> Result<()> {
    let admin = cluster().await.admin().await?;
    let plain = plain_namespace(&admin, "workloads-plain").await?;
    let toleration = json!([{"operator": "Exists"}]);
    let pod = pod_with("one", "default", "/tolerations", toleration);
    Api::<Pod>::namespaced(admin.clone(), &plain).create(&dry_run(), &pod).await?;
    let service = json!({"metadata": {"name": "web"}, "spec": {"type": "NodePort", "externalIPs": ["203.0.113.7"], "ports": [{"port": 80}]}});
    Api::<Service>::namespaced(admin.clone(), &plain).create(&dry_run(), &object(service)).await?;
    let claim = claim(json!({"spec": {"volumeName": "any"}}));
    Api::<PersistentVolumeClaim>::namespaced(admin, &plain).create(&dry_run(), &object(claim)).await?;
    Ok(())
}
