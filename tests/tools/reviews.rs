//! kubectl, in its ways to write the settings of the cluster, of which there is one, and a review, which nobody changes.

use crate::stage::{Stage, stage};
use anyhow::{Result, ensure};
use cloister_tests::eventually;
use serde_json::Value;
use std::fs;
use xtask::cluster::workspace_root;

/// The first manifest of the example, which the stage has applied.
fn settings() -> Result<String> {
    let text = fs::read_to_string(workspace_root()?.join("examples/20-policies.yaml"))?;
    let first = text.split("\n---\n").next().unwrap_or_default().to_owned();
    ensure!(first.contains("kind: CloisterConfig"), "{first}");
    Ok(first)
}

fn spec(stage: &Stage) -> Result<Value> {
    let text = stage.ok("admin", &["get", "cloisterconfig", "cloister", "-o", "json"], "")?;
    Ok(serde_json::from_str::<Value>(&text)?["spec"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_are_the_same_however_they_are_written() -> Result<()> {
    let stage = stage().await;
    let (text, before) = (settings()?, spec(stage)?);
    eventually("sam's rights", async || stage.ok("sam", &["apply", "-f", "-"], &text)).await?;
    let settled = stage.ok("sam", &["apply", "-f", "-"], &text)?;
    ensure!(settled.contains("unchanged"), "{settled}");
    stage.ok("sam", &["replace", "-f", "-"], &text)?;
    ensure!(spec(stage)? == before, "replaced: {}", spec(stage)?);
    let exported = stage.ok("sam", &["get", "cloisterconfig", "cloister", "-o", "yaml"], "")?;
    stage.ok("sam", &["replace", "-f", "-"], &exported)?;
    for manager in ["--field-manager=one", "--field-manager=two", "--field-manager=one"] {
        stage.ok("sam", &["apply", "--server-side", manager, "-f", "-"], &text)?;
    }
    ensure!(spec(stage)? == before, "exported and applied: {}", spec(stage)?);
    // There is one, by this name.
    let another = exported.replace("name: cloister\n", "name: another\n");
    let refused = stage.kubectl("sam", &["create", "--dry-run=server", "-f", "-"], &another)?;
    let told = "the only CloisterConfig is named cloister";
    ensure!(!refused.success && refused.text.contains(told), "{}", refused.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_is_written_once_however_it_is_written() -> Result<()> {
    let stage = stage().await;
    stage.ok("admin", &["wait", "--for=condition=Ready", "rns/lab", "--timeout=30s"], "")?;
    let text = format!(
        "apiVersion: cloister.dev/v1alpha1\nkind: AccessReview\nmetadata: {{name: by-kubectl, namespace: lab}}\nspec:\n  requestRef: \
         {{kind: RoleGrant, name: not-there, uid: 00000000-0000-0000-0000-000000000000}}\n  digest: \"v1:sha256:{}\"\n  decision: Approve\n",
        "0".repeat(64)
    );
    eventually("sam's rights", async || stage.ok("sam", &["apply", "-f", "-"], &text)).await?;
    let settled = stage.ok("sam", &["apply", "-f", "-"], &text)?;
    ensure!(settled.contains("unchanged"), "{settled}");
    let get =
        |who: &str, format: &str| stage.ok(who, &["get", "accessreview", "-n", "lab", "by-kubectl", "-o", format], "");
    let before: Value = serde_json::from_str(&get("sam", "json")?)?;
    ensure!(before["spec"]["reviewer"]["username"] == "sam", "{before}");

    // Nobody is given the verb: an administrator's tool may have it all the same, and changes nothing.
    let refused = stage.kubectl("sam", &["replace", "-f", "-"], &text)?;
    ensure!(!refused.success && refused.text.contains("cannot update resource"), "{}", refused.text);
    stage.ok("admin", &["replace", "-f", "-"], &text)?;
    let after: Value = serde_json::from_str(&get("sam", "json")?)?;
    ensure!(before["spec"] == after["spec"] && before["metadata"]["uid"] == after["metadata"]["uid"], "{after}");
    let denies = text.replace("decision: Approve", "decision: Deny");
    let refused = stage.kubectl("admin", &["replace", "-f", "-"], &denies)?;
    ensure!(
        !refused.success && refused.text.contains("a review cannot be changed; create another"),
        "{}",
        refused.text
    );

    // What was exported makes another, in nobody else's name.
    let another = get("sam", "yaml")?.replace("name: by-kubectl", "name: another");
    let refused = stage.kubectl("admin", &["create", "-f", "-"], &another)?;
    ensure!(
        !refused.success && refused.text.contains("spec.reviewer says who decided, and is set for you; leave it out"),
        "{}",
        refused.text
    );
    stage.ok("sam", &["create", "-f", "-"], &another)?;
    Ok(())
}
