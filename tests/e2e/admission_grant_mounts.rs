use crate::support::*;
use anyhow::{Context, Result, ensure};
use cloister_api::GrantMount;
use cloister_tests::{assert_denied, cluster, eventually};
use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use kube::{Api, Client};
use serde_json::{Value, json};

struct Fixture {
    mounts: Api<GrantMount>,
    pods: Api<Pod>,
}

async fn namespace() -> Result<Fixture> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let name = research_namespace(&operator, "mounts").await?;
    for account in ["trainer", "other"] {
        service_account(&admin, &name, account).await?;
    }
    Ok(Fixture { mounts: mounts(operator, &name), pods: Api::namespaced(admin, &name) })
}

fn mounts(client: Client, namespace: &str) -> Api<GrantMount> {
    Api::namespaced(client, namespace)
}

fn mount(storage: &str, account: &str) -> GrantMount {
    object(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "GrantMount",
        "metadata": {
            "name": format!("{storage}.reader.{account}"),
            "annotations": {"cloister.dev/credential-version": "7"},
        },
        "spec": {
            "serviceAccountName": account,
            "secretName": format!("cloister-grant-{storage}.reader.{account}"),
            "volumeName": format!("cloister-{storage}"),
            "mountPath": format!("/var/run/cloister/{storage}"),
        },
    }))
}

fn two_containers(account: &str) -> Value {
    let mut pod = pod_json("pod", account);
    pod["spec"]["containers"] = json!([container_json("one"), container_json("two")]);
    pod["spec"]["initContainers"] = json!([container_json("init")]);
    pod
}

/// Where the storage's credential is mounted, by container; the volume is checked on the way.
fn mounted(pod: &Pod, storage: &str) -> Result<Vec<String>> {
    let spec = pod.spec.as_ref().context("a spec")?;
    let volume = format!("cloister-{storage}");
    let is_ours = |m: &VolumeMount| {
        m.name == volume && m.mount_path == format!("/var/run/cloister/{storage}") && m.read_only == Some(true)
    };
    let has = |c: &&Container| c.volume_mounts.iter().flatten().any(is_ours);
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let names: Vec<String> = containers.filter(has).map(|c| c.name.clone()).collect();
    if !names.is_empty() {
        let volume = spec.volumes.iter().flatten().find(|v| v.name == volume).context("the volume")?;
        let secret = volume.secret.as_ref().context("a secret volume")?;
        ensure!(secret.optional == Some(true), "it is not optional");
        ensure!(secret.secret_name.as_deref().is_some_and(|n| n.starts_with(&format!("cloister-grant-{storage}."))));
    }
    Ok(names)
}

#[tokio::test]
async fn every_container_of_the_accounts_pods_gets_every_credential() -> Result<()> {
    let f = namespace().await?;
    for storage in ["weights", "data"] {
        f.mounts.create(&create(), &mount(storage, "trainer")).await?;
    }
    let pod: Pod = object(two_containers("trainer"));
    let made = eventually("both mounts", async || {
        let made = f.pods.create(&dry_run(), &pod).await?;
        for storage in ["weights", "data"] {
            let names = mounted(&made, storage)?;
            ensure!(names == ["init", "one", "two"], "{storage} is mounted in {names:?}");
        }
        Ok(made)
    })
    .await?;
    assert_eq!(made.spec.context("a spec")?.volumes.map(|v| v.len()), Some(2));

    let other = f.pods.create(&dry_run(), &object(two_containers("other"))).await?;
    assert!(mounted(&other, "weights")?.is_empty());
    assert!(other.spec.context("a spec")?.volumes.is_none());
    Ok(())
}

#[tokio::test]
async fn injection_stops_when_the_mount_is_being_deleted() -> Result<()> {
    let f = namespace().await?;
    let name = "weights.reader.trainer";
    f.mounts.create(&create(), &mount("weights", "trainer")).await?;
    // Nobody but Kubernetes' own controllers could hold it.
    let controller = cluster().await.client_for("system:kube-controller-manager", &["system:masters"]).await?;
    let theirs: Api<GrantMount> = Api::namespaced(controller, f.mounts.namespace().context("it has one")?);
    merge(&theirs, name, json!({"metadata": {"finalizers": ["example.com/held"]}})).await?;
    let pod = pod("pod", "trainer");
    eventually("the mount", async || {
        ensure!(!mounted(&f.pods.create(&dry_run(), &pod).await?, "weights")?.is_empty());
        Ok(())
    })
    .await?;

    f.mounts.delete(name, &delete()).await?;
    let terminating = f.mounts.get(name).await?;
    assert!(terminating.metadata.deletion_timestamp.is_some());
    eventually("no mount", async || {
        ensure!(mounted(&f.pods.create(&dry_run(), &pod).await?, "weights")?.is_empty());
        Ok(())
    })
    .await?;

    // Whoever runs the cluster lets it go, and changes nothing else.
    let admin: Api<GrantMount> =
        Api::namespaced(cluster().await.admin().await?, f.mounts.namespace().unwrap_or_default());
    let mut moved = json!({"metadata": {"finalizers": null}});
    moved["spec"] = json!({"mountPath": "/elsewhere"});
    assert_denied(merge(&admin, name, moved).await, "grantmount-writers.cloister.dev");
    merge(&admin, name, json!({"metadata": {"finalizers": null}})).await?;
    Ok(())
}

/// Before the copy is made, and while it is taken away, the mount has no version.
#[tokio::test]
async fn a_mount_without_a_version_is_put_into_no_pod() -> Result<()> {
    let f = namespace().await?;
    let name = "weights.reader.trainer";
    f.mounts.create(&create(), &mount("weights", "trainer")).await?;
    let pod = pod("pod", "trainer");
    eventually("the mount", async || {
        ensure!(!mounted(&f.pods.create(&dry_run(), &pod).await?, "weights")?.is_empty());
        Ok(())
    })
    .await?;
    merge(&f.mounts, name, json!({"metadata": {"annotations": {"cloister.dev/credential-version": ""}}})).await?;
    eventually("no mount", async || {
        ensure!(mounted(&f.pods.create(&dry_run(), &pod).await?, "weights")?.is_empty());
        Ok(())
    })
    .await
}

/// A volume of the same name does not keep ours away, nor make it one that is required.
#[tokio::test]
async fn the_author_cannot_take_the_volume() -> Result<()> {
    let f = namespace().await?;
    f.mounts.create(&create(), &mount("weights", "trainer")).await?;
    let mut pod = pod_json("pod", "trainer");
    pod["spec"]["volumes"] = json!([{"name": "cloister-weights", "secret": {"secretName": "mine", "optional": false}}]);
    let pod: Pod = object(pod);
    eventually("the mount", async || {
        ensure!(mounted(&f.pods.create(&dry_run(), &pod).await?, "weights")? == ["main"]);
        Ok(())
    })
    .await
}

/// Two mounts at one path would become one with a bit of each, or hide one another.
#[tokio::test]
async fn nothing_else_is_mounted_where_a_credential_is() -> Result<()> {
    const POLICY: &str = "grant-mount-paths.cloister.dev";
    let f = namespace().await?;
    f.mounts.create(&create(), &mount("weights", "trainer")).await?;
    let with = |container: &str, account: &str, path: &str, more: Value| {
        let mut pod = pod_json("pod", account);
        let mut mount = json!({"name": "mine", "mountPath": path});
        json_merge(&mut mount, &more);
        let mut with_mount = container_json("mounts");
        with_mount["volumeMounts"] = json!([mount]);
        pod["spec"]["volumes"] = json!([{"name": "mine", "emptyDir": {}}]);
        if container == "containers" {
            pod["spec"][container] = json!([container_json("main"), with_mount]);
        } else {
            pod["spec"][container] = json!([with_mount]);
        }
        object::<Pod>(pod)
    };
    let plain = pod("pod", "trainer");
    eventually("the mount", async || {
        ensure!(!mounted(&f.pods.create(&dry_run(), &plain).await?, "weights")?.is_empty());
        let same = with("containers", "trainer", "/var/run/cloister/weights", json!({}));
        cloister_tests::denied(f.pods.create(&dry_run(), &same).await, POLICY)
    })
    .await?;
    for container in ["containers", "initContainers"] {
        for path in [
            "/var/run/cloister/weights",
            "/var/run/cloister/weights/",
            "/var/run//cloister/./weights",
            "/var/run/cloister/weights/token",
            "/var/run/cloister/x/../weights",
        ] {
            for more in [json!({}), json!({"subPath": "token"}), json!({"readOnly": true})] {
                let result = f.pods.create(&dry_run(), &with(container, "trainer", path, more)).await;
                let message = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
                assert!(message.contains("/var/run/cloister/weights"), "{path}: {message}");
                assert_denied(result, POLICY);
            }
        }
        // Above it, beside it, and for whom there is no such mount.
        for (account, path) in [
            ("trainer", "/var/run"),
            ("trainer", "/var/run/cloister"),
            ("trainer", "/var/run/cloister/weights-2"),
            ("other", "/var/run/cloister/weights"),
        ] {
            let made = f.pods.create(&dry_run(), &with(container, account, path, json!({"subPath": "x"}))).await?;
            assert_eq!(!mounted(&made, "weights")?.is_empty(), account == "trainer", "{path}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_namespace_without_mounts_is_left_alone() -> Result<()> {
    let f = namespace().await?;
    let made = f.pods.create(&create(), &pod("pod", "trainer")).await?;
    assert!(made.spec.context("a spec")?.volumes.is_none());
    Ok(())
}
