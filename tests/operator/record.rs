//! The audit record, across crashes.

use anyhow::{Context, Result, ensure};
use cloister_api::{AccessPolicy, GrantPhase, ResearchNamespace, StorageAccessGrant, StorageResource};
use cloister_core::audit::Proof;
use cloister_tests::scene::condition;
use cloister_tests::{bare::Bare, eventually};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path, time::Duration};

async fn create<K>(api: Api<K>, kind: &str, name: &str, spec: Value) -> Result<()>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    let object = json!({"apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

/// The whole record: what happened to each object, in order.
fn read(path: &Path) -> Result<(Proof, BTreeMap<String, Vec<String>>)> {
    let mut proof = Proof::default();
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in std::fs::read_to_string(path)?.lines() {
        proof.take(line)?;
        let record: Value = serde_json::from_str(line)?;
        let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
        let what = text("type").trim_start_matches("dev.cloister.").trim_end_matches(".v1").to_owned();
        all.entry(text("subject")).or_default().push(what);
    }
    Ok((proof, all))
}

#[tokio::test]
async fn whenever_it_is_killed_nothing_is_missing_from_the_record_and_nothing_is_there_twice() -> Result<()> {
    const GRANTS: usize = 24;
    let bare = Bare::start("record").await?;
    let (admin, record) = (&bare.admin, bare.folder().join("record.jsonl"));
    let policy = json!({
        "requesters": [{"kind": "User", "name": "alice"}], "maxDuration": "8h", "defaultDuration": "1h",
        "autoApprove": ["request.role == 'reader'"],
    });
    create::<AccessPolicy>(Api::all(admin.clone()), "AccessPolicy", "automatic", policy).await?;
    let roles = json!([{"name": "reader", "accessPolicy": "automatic", "clusterRole": "cloister:storage-reader"}]);
    let storage = json!({"sensitivity": "Low", "roles": roles});
    create::<StorageResource>(Api::all(admin.clone()), "StorageResource", "weights", storage).await?;
    let members = json!([{"role": "Researcher", "subjects": [{"kind": "User", "name": "alice"}]}]);
    let spec = json!({"tier": "Standard", "members": members});
    create::<ResearchNamespace>(Api::all(admin.clone()), "ResearchNamespace", "interp", spec).await?;
    let namespaces: Api<ResearchNamespace> = Api::all(admin.clone());
    let mut operator = bare.recording_operator(&record).await?;
    eventually("the namespace to be enforced", async || {
        let object = namespaces.get("interp").await?;
        let enforced = condition(&object, "Enforced").context("nothing is said of it")?;
        ensure!(enforced.status == "True", "{}", enforced.message);
        Ok(())
    })
    .await?;

    let grants: Api<StorageAccessGrant> = Api::namespaced(admin.clone(), "interp");
    let alice: Api<StorageAccessGrant> =
        Api::namespaced(bare.cluster.client_for("alice", &["researchers"]).await?, "interp");
    for at in 0..GRANTS {
        let subjects = json!([{"kind": "User", "name": "alice"}]);
        let spec = json!({"storage": "weights", "role": "reader", "subjects": subjects, "justification": "a test"});
        create(alice.clone(), "StorageAccessGrant", &format!("run-{at}"), spec).await?;
        if at % 6 == 5 {
            // Somewhere between two writes.
            tokio::time::sleep(Duration::from_millis(5 * at as u64)).await;
            operator.kill()?;
            operator = bare.recording_operator(&record).await?;
        }
    }
    let all_are = async |phase: GrantPhase| {
        eventually(&format!("all grants to be {}", phase.as_str()), async || {
            let all = grants.list(&ListParams::default()).await?;
            let are = |grant: &&StorageAccessGrant| grant.status.as_ref().is_some_and(|status| status.phase == phase);
            let count = all.items.iter().filter(are).count();
            ensure!(count == GRANTS, "{count} of {GRANTS} are");
            Ok(())
        })
        .await
    };
    all_are(GrantPhase::Active).await?;
    eventually("the record to be complete", async || {
        let (proof, all) = read(&record)?;
        ensure!(proof.chains == 1, "{} chains", proof.chains);
        for at in 0..GRANTS {
            let told = all.get(&format!("StorageAccessGrant/interp/run-{at}")).cloned().unwrap_or_default();
            ensure!(told == ["grant.requested", "grant.approved", "grant.activated"], "run-{at}: {told:?}");
        }
        Ok(())
    })
    .await?;

    // Its end is recorded with who asked, and the bindings that were opened.
    let text = std::fs::read_to_string(&record)?;
    let activated = text.lines().find(|line| line.contains("grant.activated")).context("an activation")?;
    let activated: Value = serde_json::from_str(activated)?;
    assert_eq!(activated["data"]["requestedBy"]["username"], "alice");
    assert_eq!(activated["data"]["opened"][0]["kind"], "RoleBinding");
    assert!(activated["data"]["opened"][0]["uid"].as_str().is_some_and(|uid| !uid.is_empty()));

    // Whoever changes the record is found out at the next start, and the operator does not go on.
    operator.kill()?;
    std::fs::write(&record, text.replacen("alice", "mallory", 1))?;
    let refused = bare.recording_operator(&record).await.err().context("it goes on with a forged record")?;
    assert!(format!("{refused:#}").contains("does not hold"), "{refused:#}");
    Ok(())
}
