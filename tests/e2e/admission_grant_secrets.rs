use crate::support::*;
use anyhow::{Context, Result};
use cloister_tests::{assert_denied, cluster, denied};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{Api, Client};
use serde_json::{Value, json};

const POLICY: &str = "grant-secrets.cloister.dev";
const TRAINERS: &str = "cloister-grant-weights.reader.trainer";

/// Pod Security would refuse most kinds of volumes before us: this is about our policy.
async fn namespace() -> Result<(Client, Api<Pod>)> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let name = lax_namespace(&admin, &operator, "secrets").await?;
    for account in ["trainer", "other"] {
        service_account(&admin, &name, account).await?;
    }
    Ok((admin.clone(), Api::namespaced(admin, &name)))
}

/// A volume of this source, beside another.
fn volume(source: Value) -> Value {
    let mut volume = json!({"name": "v"});
    json_merge(&mut volume, &source);
    json!([{"name": "first", "emptyDir": {}}, volume])
}

fn with(container: &str, key: &str, value: &Value) -> Value {
    let mut container = container_json(container);
    container[key] = value.clone();
    container
}

/// Every form in which the kubelet takes a Secret out of a running pod again: where in the spec, and what.
fn emptied(secret: &str) -> Vec<(&'static str, Value)> {
    let source = json!({"secret": {"name": secret, "optional": true}});
    vec![
        ("/volumes", volume(json!({"secret": {"secretName": secret, "optional": true}}))),
        ("/volumes", volume(json!({"projected": {"sources": [{"configMap": {"name": "x"}}, source]}}))),
    ]
}

/// Every other form in which a pod references a Secret.
fn lasting(secret: &str) -> Vec<(&'static str, Value)> {
    let env = json!([{"name": "PLAIN", "value": "x"}, {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": secret, "key": "k"}}}]);
    let optional_env =
        json!([{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": secret, "key": "k", "optional": true}}}]);
    let env_from = json!([{"configMapRef": {"name": "x"}}, {"secretRef": {"name": secret}}]);
    let optional_env_from = json!([{"secretRef": {"name": secret, "optional": true}}]);
    let init = |key: &str, value: &Value| json!([with("init", key, value)]);
    let named = json!({"name": secret});
    vec![
        ("/volumes", volume(json!({"secret": {"secretName": secret}}))),
        ("/volumes", volume(json!({"secret": {"secretName": secret, "optional": false}}))),
        (
            "/volumes",
            volume(json!({"projected": {"sources": [{"configMap": {"name": "x"}}, {"secret": {"name": secret}}]}})),
        ),
        ("/volumes", volume(json!({"projected": {"sources": [{"secret": {"name": secret, "optional": false}}]}}))),
        ("/imagePullSecrets", json!([{"name": "x"}, named])),
        ("/containers/0/env", env.clone()),
        ("/containers/0/env", optional_env),
        ("/containers/0/envFrom", env_from.clone()),
        ("/containers/0/envFrom", optional_env_from),
        ("/initContainers", init("env", &env)),
        ("/initContainers", init("envFrom", &env_from)),
    ]
}

/// Volumes of drivers that take a Secret. No research namespace admits any that is not listed, whatever its Secret is.
fn drivers(secret: &str) -> Vec<(&'static str, Value)> {
    let named = json!({"name": secret});
    vec![
        ("/volumes", volume(json!({"csi": {"driver": "d", "nodePublishSecretRef": named}}))),
        ("/volumes", volume(json!({"flexVolume": {"driver": "d/d", "secretRef": named}}))),
        ("/volumes", volume(json!({"azureFile": {"shareName": "s", "secretName": secret}}))),
        ("/volumes", volume(json!({"cephfs": {"monitors": ["m"], "secretRef": named}}))),
        ("/volumes", volume(json!({"cinder": {"volumeID": "v", "secretRef": named}}))),
        (
            "/volumes",
            volume(
                json!({"iscsi": {"targetPortal": "p", "iqn": "iqn.2001-04.com.example:x", "lun": 0, "secretRef": named}}),
            ),
        ),
        ("/volumes", volume(json!({"rbd": {"monitors": ["m"], "image": "i", "secretRef": named}}))),
        (
            "/volumes",
            volume(json!({"scaleIO": {"gateway": "g", "system": "s", "volumeName": "v", "secretRef": named}})),
        ),
        ("/volumes", volume(json!({"storageos": {"volumeName": "v", "secretRef": named}}))),
    ]
}

fn forms(secret: &str) -> Vec<(&'static str, Value)> {
    [emptied(secret), lasting(secret)].concat()
}

#[tokio::test]
async fn a_credential_is_for_its_account_in_every_form() -> Result<()> {
    let (_, pods) = namespace().await?;
    for (pointer, value) in forms(TRAINERS) {
        let theirs = pod_with("theirs", "other", pointer, value.clone());
        let result = pods.create(&dry_run(), &theirs).await;
        assert!(result.is_err(), "another account gets it through {value}");
        assert_denied(result, POLICY);
    }
    for (pointer, value) in drivers(TRAINERS) {
        for account in ["trainer", "other"] {
            let result = pods.create(&dry_run(), &pod_with("own", account, pointer, value.clone())).await;
            assert!(result.is_err(), "{account} gets it through {value}");
            // Each of the two is enough; the API server names the first that it asks.
            let refused = denied(result, POLICY);
            assert!(refused.is_ok() || format!("{refused:?}").contains("pod-workloads.cloister.dev"), "{refused:?}");
        }
    }
    Ok(())
}

/// What a pod would keep after the end is refused to its own account, too.
#[tokio::test]
async fn a_credential_is_referenced_only_where_it_can_be_taken_back() -> Result<()> {
    let (_, pods) = namespace().await?;
    for (pointer, value) in emptied(TRAINERS) {
        let own = pod_with("own", "trainer", pointer, value.clone());
        pods.create(&dry_run(), &own).await.with_context(|| format!("its own account, through {value}"))?;
    }
    for (pointer, value) in lasting(TRAINERS) {
        let own = pod_with("own", "trainer", pointer, value.clone());
        let result = pods.create(&dry_run(), &own).await;
        assert!(result.is_err(), "its own account keeps it through {value}");
        let message = result.as_ref().unwrap_err().to_string();
        assert!(message.contains("this pod would keep it"), "{message}");
        assert_denied(result, POLICY);
    }
    Ok(())
}

/// A part of a volume is mounted once, and does not follow what becomes of the Secret.
#[tokio::test]
async fn no_part_of_a_credential_is_mounted_alone() -> Result<()> {
    let (_, pods) = namespace().await?;
    for (_, volumes) in emptied(TRAINERS) {
        let whole = json!({"name": "v", "mountPath": "/mnt/weights", "readOnly": true});
        let mut pod = pod_json("own", "trainer");
        pod["spec"]["volumes"] = volumes;
        let mounted = |at: &str, mount: &Value| {
            let mut pod = pod.clone();
            let other = json!({"name": "first", "mountPath": "/mnt/first", "subPath": "x"});
            let container = with("mounts", "volumeMounts", &json!([other, mount]));
            if at == "containers" {
                pod["spec"][at] = json!([container_json("main"), container]);
            } else {
                pod["spec"][at] = json!([container]);
            }
            object::<Pod>(pod)
        };
        for at in ["containers", "initContainers"] {
            pods.create(&dry_run(), &mounted(at, &whole)).await?;
            for (key, value) in [("subPath", "token"), ("subPathExpr", "token")] {
                let mut part = whole.clone();
                part[key] = json!(value);
                let result = pods.create(&dry_run(), &mounted(at, &part)).await;
                assert!(result.as_ref().is_err_and(|error| error.to_string().contains("has a subPath")), "{at} {key}");
                assert_denied(result, POLICY);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn other_secrets_are_left_alone() -> Result<()> {
    let (_, pods) = namespace().await?;
    for secret in ["weights", "grant-weights.reader.trainer", "my-cloister-grant-weights.reader.trainer"] {
        for (pointer, value) in forms(secret) {
            let pod = pod_with("pod", "other", pointer, value.clone());
            pods.create(&dry_run(), &pod).await.with_context(|| format!("{value}"))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_name_that_says_no_account_is_for_nobody() -> Result<()> {
    let (_, pods) = namespace().await?;
    for secret in [
        "cloister-grant-trainer",
        "cloister-grant-weights.trainer",
        "cloister-grant-weights.reader.x.trainer",
        "cloister-grant-weights.reader.trainer.x",
        "cloister-grant-weights.reader.other-trainer",
    ] {
        let volumes = json!([{"name": "v", "secret": {"secretName": secret}}]);
        assert_denied(pods.create(&dry_run(), &pod_with("pod", "trainer", "/volumes", volumes)).await, POLICY);
    }
    Ok(())
}

#[tokio::test]
async fn a_running_pod_gets_no_credential_that_it_would_keep() -> Result<()> {
    let (_, pods) = namespace().await?;
    let debugger = |key: &str, value: Value| {
        let container = with("debug", key, &value);
        json!({"spec": {"ephemeralContainers": [container]}})
    };
    pods.create(&create(), &pod("theirs", "other")).await?;
    let (pointer, volumes) = emptied(TRAINERS).remove(0);
    pods.create(&create(), &pod_with("own", "trainer", pointer, volumes)).await?;
    let env_from = || debugger("envFrom", json!([{"secretRef": {"name": TRAINERS}}]));
    let env =
        || debugger("env", json!([{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": TRAINERS, "key": "k"}}}]));
    for name in ["theirs", "own"] {
        assert_denied(merge_at(&pods, "ephemeralcontainers", name, env_from()).await, POLICY);
        assert_denied(merge_at(&pods, "ephemeralcontainers", name, env()).await, POLICY);
    }
    let mount = |more: Value| {
        let mut mount = json!({"name": "v", "mountPath": "/mnt/weights"});
        json_merge(&mut mount, &more);
        debugger("volumeMounts", json!([mount]))
    };
    // Kubernetes has no subPath in an ephemeral container.
    let part = merge_at(&pods, "ephemeralcontainers", "own", mount(json!({"subPath": "token"}))).await;
    assert!(part.is_err_and(|error| error.to_string().contains("subPath")));
    merge_at(&pods, "ephemeralcontainers", "own", mount(json!({}))).await?;

    // The status cannot carry a spec, and a resize no volume.
    let volumes = json!({"spec": {"volumes": [{"name": "v", "secret": {"secretName": TRAINERS}}]}});
    let after = merge_at(&pods, "status", "theirs", volumes.clone()).await?;
    assert!(!serde_json::to_string(&after)?.contains(TRAINERS));
    if let Ok(after) = merge_at(&pods, "resize", "theirs", volumes).await {
        assert!(!serde_json::to_string(&after.spec)?.contains(TRAINERS));
    }
    Ok(())
}

/// The API server copies the imagePullSecrets of a ServiceAccount into its pods, before policies see them.
#[tokio::test]
async fn an_account_does_not_smuggle_a_credential_in() -> Result<()> {
    let (admin, pods) = namespace().await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(admin, pods.namespace().context("it has one")?);
    merge(&accounts, "other", json!({"imagePullSecrets": [{"name": TRAINERS}]})).await?;
    cloister_tests::eventually("the account to be seen", async || {
        cloister_tests::denied(pods.create(&dry_run(), &pod("pod", "other")).await, POLICY)
    })
    .await
}

/// It may hold what it had; whoever runs it must be able to end it.
#[tokio::test]
async fn a_pod_from_before_adoption_can_still_be_written() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = plain_namespace(&admin, "adopted").await?;
    let pods: Api<Pod> = Api::namespaced(admin.clone(), &ns);
    let volumes = json!([{"name": "v", "secret": {"secretName": TRAINERS}}]);
    pods.create(&create(), &pod_with("old", "default", "/volumes", volumes.clone())).await?;
    adopt(&admin, &operator, &ns).await?;
    cloister_tests::eventually("the policy", async || {
        let new = pod_with("new", "default", "/volumes", volumes.clone());
        cloister_tests::denied(pods.create(&dry_run(), &new).await, POLICY)
    })
    .await?;
    merge(&pods, "old", json!({"metadata": {"finalizers": null, "labels": {"x": "y"}}})).await?;
    Ok(())
}
