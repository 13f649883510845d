//! A ResearchNamespace becomes a namespace that is closed.

use crate::support::Scene;
use anyhow::Result;
use cloister_tests::unique;
use serde_json::json;

#[tokio::test]
async fn a_namespace_is_closed_by_default() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("closed");
    let declared = scene.enforced(&name, json!({"tier": "Standard"})).await?;
    assert_eq!(scene.policies(&name).await?, ["cloister-deny-all", "cloister-dns", "cloister-own-pods"]);
    let namespace = scene.namespace(&name).await?;
    let labels = namespace.metadata.labels.unwrap_or_default();
    assert_eq!(labels["cloister.dev/enforced"], "true");
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    assert!(declared.metadata.finalizers.unwrap().contains(&"cloister.dev/namespace".to_owned()));
    Ok(())
}
