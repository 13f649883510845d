//! Who may hold the Lease by which one operator acts.

use crate::support::*;
use anyhow::{Context, Result};
use cloister_api::labels;
use cloister_tests::{assert_denied, cluster, eventually};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::{Api, Client};
use serde_json::{Value, json};

const POLICY: &str = "operator-lease.cloister.dev";
const SYSTEM: &str = labels::SYSTEM_NAMESPACE;

/// A client with a token that was given to a pod of the operator's, which is made.
async fn in_pod(admin: &Client, name: &str) -> Result<Client> {
    let pods: Api<Pod> = Api::namespaced(admin.clone(), SYSTEM);
    let made = pods.create(&create(), &pod(name, labels::OPERATOR_ACCOUNT)).await?;
    let bound = BoundObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: Some(name.into()),
        uid: made.metadata.uid,
    };
    let spec = TokenRequestSpec { bound_object_ref: Some(bound), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), SYSTEM);
    let answer = accounts.create_token_request(labels::OPERATOR_ACCOUNT, &create(), &request).await?;
    let token = answer.status.and_then(|status| status.token).context("a token")?;
    let kubeconfig = cluster().await.inner().token_kubeconfig(name, token)?;
    Ok(xtask::cluster::client(kubeconfig).await?)
}

fn lease(name: &str, holder: Value, seconds: i32) -> Lease {
    object(json!({
        "metadata": {"name": name},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": seconds},
    }))
}

#[tokio::test]
async fn the_lease_is_held_by_the_pod_of_the_token() -> Result<()> {
    const LEASE: &str = "cloister-operator";
    let admin = cluster().await.admin().await?;
    let theirs: Api<Lease> = Api::namespaced(admin.clone(), SYSTEM);
    let (one, two) = (in_pod(&admin, "cloister-one").await?, in_pod(&admin, "cloister-two").await?);
    let (one, two): (Api<Lease>, Api<Lease>) = (Api::namespaced(one, SYSTEM), Api::namespaced(two, SYSTEM));
    let loose: Api<Lease> = Api::namespaced(cluster().await.operator().await?, SYSTEM);

    assert_denied(one.create(&dry_run(), &lease("other", json!("cloister-one"), 15)).await, POLICY);
    for holder in [json!("cloister-two"), json!("thief"), json!(null), json!("cloister-one_7")] {
        assert_denied(one.create(&dry_run(), &lease(LEASE, holder, 15)).await, POLICY);
    }
    assert_denied(one.create(&dry_run(), &lease(LEASE, json!("cloister-one"), 16)).await, POLICY);
    one.create(&create(), &lease(LEASE, json!("cloister-one"), 15)).await?;

    // Another takes it in its own name, when it has run out; it gives nothing away that is not its own.
    let replace = async |api: &Api<Lease>, holder: Value, seconds: i32| -> Result<kube::Result<Lease>> {
        let mut next = lease(LEASE, holder, seconds);
        next.metadata.resource_version = theirs.get(LEASE).await?.metadata.resource_version;
        Ok(api.replace(LEASE, &create(), &next).await)
    };
    for holder in [json!("cloister-one"), json!("thief"), json!(null)] {
        assert_denied(replace(&two, holder, 15).await?, POLICY);
    }
    assert_denied(replace(&two, json!("cloister-two"), 3600).await?, POLICY);
    replace(&two, json!("cloister-two"), 15).await??;
    replace(&two, json!(null), 15).await??;

    // A token that was given to no pod is good where the operator runs outside of the cluster.
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    replace(&loose, json!("laptop_7"), 15).await??;
    assert_denied(replace(&loose, json!("laptop_7"), 16).await?, POLICY);
    let outside = |value: Value| json!({"metadata": {"labels": {labels::OPERATOR: value}}});
    merge(&namespaces, SYSTEM, outside(json!(null))).await?;
    eventually("the label to be gone", async || {
        cloister_tests::denied(replace(&loose, json!("laptop_7"), 15).await?, POLICY)
    })
    .await?;
    let own: Api<Namespace> = Api::all(cluster().await.operator().await?);
    assert_denied(merge(&own, SYSTEM, outside(json!("outside"))).await, "operator-namespaces.cloister.dev");
    merge(&namespaces, SYSTEM, outside(json!("outside"))).await?;
    // Of other Namespaces that label is nobody's to set.
    let other = plain_namespace(&admin, "elsewhere").await?;
    assert_denied(merge(&namespaces, &other, outside(json!("outside"))).await, "namespaces.cloister.dev");
    theirs.delete(LEASE, &delete()).await?;
    for name in ["cloister-one", "cloister-two"] {
        Api::<Pod>::namespaced(admin.clone(), SYSTEM).delete(name, &delete()).await?;
    }
    Ok(())
}
