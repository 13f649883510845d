//! What an operator tells that runs as another account than the one that is deployed.

use anyhow::{Result, ensure};
use cloister_api::AccessPolicy;
use cloister_tests::{bare::Bare, eventually};
use kube::{Api, api::PostParams};
use serde_json::json;
use xtask::operator::Operator;

#[tokio::test]
async fn one_that_runs_as_another_account_is_not_ready_and_says_as_which_it_must_run() -> Result<()> {
    let bare = Bare::start("account").await?;
    let policy = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "AccessPolicy", "metadata": {"name": "standard"},
        "spec": {"maxDuration": "1h"},
    });
    let policies: Api<AccessPolicy> = Api::all(bare.admin.clone());
    policies.create(&PostParams::default(), &serde_json::from_value(policy)?).await?;
    // Who may do everything does not get past admission.
    let olga = bare.cluster.kubeconfig_for("olga", &["system:masters"]).await?;
    let operator = Operator::spawn_as(bare.binary(), &olga, &bare.folder().join("log"), &[])?;
    eventually("it to say so", async || {
        let (code, text) = operator.get("/readyz").await?;
        let words = "make sure that it runs as the ServiceAccount cloister-system/cloister-operator";
        ensure!(code == 503 && text.contains(words), "{code} {text}");
        Ok(())
    })
    .await?;
    drop(operator);
    bare.give_back().await
}
