//! Kinds that the operator may not list: what is decided without them says so, and is decided again when they are listed.

use anyhow::{Context, Result, ensure};
use cloister_api::{CloisterConfig, ResearchNamespace};
use cloister_tests::{bare::Bare, eventually, scene::condition};
use k8s_openapi::api::{core::v1::Namespace, rbac::v1::ClusterRole};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use xtask::operator::Operator;

const ROLE: &str = "cloister:operator";

#[tokio::test]
async fn what_is_decided_without_a_kind_is_decided_again_when_it_is_listed() -> Result<()> {
    let bare = Bare::start("unlisted").await?;
    let roles: Api<ClusterRole> = Api::all(bare.admin.clone());
    let whole = roles.get(ROLE).await?.rules.context("the operator has no permissions")?;
    let mut fewer = whole.clone();
    for rule in &mut fewer {
        // Of these there is none, so that no object says that they are listed.
        let without = ["pods", "nodes"];
        if rule.resources.iter().flatten().any(|resource| without.contains(&resource.as_str())) {
            rule.verbs.retain(|verb| verb != "list" && verb != "watch");
        }
    }
    ensure!(fewer != whole, "no rule lists pods or nodes");
    let rules = async |rules| {
        let patch = Patch::Merge(json!({"rules": rules}));
        anyhow::Ok(roles.patch(ROLE, &PatchParams::default(), &patch).await.map(drop)?)
    };
    rules(&fewer).await?;
    // It is not ready like this.
    let mut operator =
        Operator::spawn(bare.binary(), &bare.cluster, &bare.folder().join("log"), &["--log", "info"]).await?;

    let config = json!({"apiVersion": "cloister.dev/v1alpha1", "kind": "CloisterConfig", "metadata": {"name": "cloister"}, "spec": {}});
    let settings: Api<CloisterConfig> = Api::all(bare.admin.clone());
    settings.patch("cloister", &PatchParams::apply("test"), &Patch::Apply(&config)).await?;
    let networks = async |reason: &str, part: &str| {
        eventually(&format!("ClusterNetworksKnown to be {reason}"), async || {
            let said =
                condition(&settings.get("cloister").await?, "ClusterNetworksKnown").context("nothing is said")?;
            ensure!(said.reason == reason && said.message.contains(part), "{}: {}", said.reason, said.message);
            Ok(())
        })
        .await
    };
    networks("NotListed", "has not listed Node yet").await?;

    let declared: Api<ResearchNamespace> = Api::all(bare.admin.clone());
    let research = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace", "metadata": {"name": "interp"},
        "spec": {"tier": "Standard", "deletionPolicy": "Delete"},
    });
    declared.create(&PostParams::default(), &serde_json::from_value(research)?).await?;
    let ready = async |reason: &str, part: &str| {
        eventually(&format!("the namespace to be {reason}"), async || {
            let said = condition(&declared.get("interp").await?, "Ready").context("nothing is said")?;
            ensure!(said.reason == reason && said.message.contains(part), "{}: {}", said.reason, said.message);
            Ok(())
        })
        .await
    };
    ready("Reconciled", "").await?;
    declared.delete("interp", &DeleteParams::default()).await?;
    ready("WaitingForPods", "has not listed pods yet").await?;

    rules(&whole).await?;
    operator.wait_until_ready().await?;
    networks("Known", "").await?;
    eventually("the namespace to be gone", async || {
        ensure!(declared.get_opt("interp").await?.is_none(), "the ResearchNamespace is there");
        let namespaces: Api<Namespace> = Api::all(bare.admin.clone());
        ensure!(namespaces.get_opt("interp").await?.is_none(), "the Namespace is there");
        Ok(())
    })
    .await?;
    operator.stop().await?;
    bare.give_back().await
}
