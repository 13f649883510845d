//! A disk that is truly full, with the audit record on it.

use crate::{
    record::{complete, nothing_opens, read},
    stage::{Reach, Stage},
};
use anyhow::{Context, Result, bail, ensure};
use cloister_api::CloisterConfig;
use cloister_tests::{bare::Bare, eventually, scene::condition};
use kube::Api;
use serde_json::json;
use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// A disk of the operator's own: it is mounted where the operator alone sees it, and goes with it.
const DISK: &str = r#"#!/bin/sh
exec unshare --mount --map-root-user sh -c 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"' 'MOUNT' 'OPERATOR' "$@"
"#;

/// Has the operator started with a small disk mounted at this folder.
fn with_disk(bare: &mut Bare, at: &Path) -> Result<()> {
    let script = bare.folder().join("with-disk");
    let text = DISK.replace("MOUNT", at.to_str().context("no text")?);
    fs::write(&script, text.replace("OPERATOR", bare.binary().to_str().context("no text")?))?;
    fs::set_permissions(&script, PermissionsExt::from_mode(0o700))?;
    bare.run_by(script);
    Ok(())
}

/// The folder as the operator sees it.
fn seen(stage: &Stage, at: &Path) -> Result<PathBuf> {
    let root = PathBuf::from(format!("/proc/{}/root", stage.operator()?.pid()));
    Ok(root.join(at.strip_prefix("/")?))
}

/// Writes until there is no room any more.
fn fill(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    for size in [4096, 1] {
        loop {
            match file.write_all(&vec![0; size]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => bail!("it is not full, but {error}"),
            }
        }
    }
    Ok(())
}

/// What the settings say of the record.
async fn until_said(stage: &Stage, status: &str, reason: &str) -> Result<()> {
    let settings: Api<CloisterConfig> = Api::all(stage.bare.admin.clone());
    eventually(&format!("the settings to say AuditAvailable={status}"), async || {
        let said = condition(&settings.get("cloister").await?, "AuditAvailable").context("nothing is said of it")?;
        ensure!(said.status == status && said.reason == reason, "{} {}: {}", said.status, said.reason, said.message);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_full_disk_delays_no_end_and_the_record_lacks_nothing_afterwards() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = folder.path();
    let record = at.join("record.jsonl");
    let arguments = ["--audit", record.to_str().context("no text")?];
    let mut stage = Stage::start_as("chaos-disk", &arguments, |bare| with_disk(bare, at)).await?;
    ensure!(!record.exists(), "there is no disk of the operator's own");
    let disk = seen(&stage, at)?;
    let text = || Ok(fs::read_to_string(disk.join("record.jsonl"))?);
    stage.make("CloisterConfig", None, "cloister", json!({})).await?;
    until_said(&stage, "True", "Recorded").await?;
    let filler = disk.join("filler");

    let begin = async |stage: &mut Stage| {
        fill(&filler)?;
        // The last page of the record has room for some more. Each of these is recorded, and opens nothing.
        let mut count = 0;
        eventually("the rest of the record's last page to be used up", async || {
            count += 1;
            let subjects = json!([{"kind": "User", "name": "alice"}]);
            let spec = json!({"role": "none", "subjects": subjects, "justification": "chaos"});
            stage.make("RoleGrant", Some("lab"), &format!("filler-{count}"), spec).await?;
            let count = stage.operator()?.metric("cloister_alerts", "alert=\"AuditSinkFailed\"").await?;
            ensure!(count > 0.0, "it is not");
            Ok(())
        })
        .await?;
        nothing_opens(stage).await?;
        until_said(stage, "False", "AuditUnavailable").await
    };
    stage
        .play("the record on a disk that is full", Reach::Answered, begin, Duration::from_secs(10), async |stage| {
            stage.nothing_held_is_open().await?;
            read(&text()?).context("the chain does not hold while the disk is full")?;
            ensure!(text()?.ends_with('\n'), "half a record is left of a write that failed");
            Ok(fs::remove_file(&filler)?)
        })
        .await?;
    stage.until_alert("AuditSinkFailed", false).await?;
    until_said(&stage, "True", "Recorded").await?;
    let proof = complete(&stage, text).await?;
    ensure!(proof.chains == 1 && proof.resumed.is_empty(), "nothing was cut off, and yet a chain begins: {proof:?}");
    println!("the record on a disk that is full: {} records, none missing and none twice", proof.records);
    Ok(())
}
