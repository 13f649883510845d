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
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A small disk that only the operators see which are started on it. It goes with this.
struct Disk {
    holder: Child,
    at: PathBuf,
}

impl Disk {
    /// Mounts one at this folder, where a process sees it that does nothing.
    async fn new(at: &Path) -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs \"$0\" && exec cat"]);
        let holder = command.arg(at).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().context("no unshare")?;
        let disk = Disk { holder, at: at.to_owned() };
        let mounts = format!("/proc/{}/mounts", disk.holder.id());
        let wanted = format!("tmpfs {} tmpfs", at.display());
        eventually("the disk to be mounted", async || {
            ensure!(fs::read_to_string(&mounts)?.contains(&wanted), "it is not; see what unshare says");
            Ok(())
        })
        .await?;
        Ok(disk)
    }

    /// Has operators started where it is seen.
    fn serve(&self, bare: &mut Bare) -> Result<()> {
        let script = bare.folder().join("on-disk");
        let text = format!(
            "#!/bin/sh\nexec nsenter --target {} --user --mount --preserve-credentials '{}' \"$@\"\n",
            self.holder.id(),
            bare.binary().display()
        );
        fs::write(&script, text)?;
        fs::set_permissions(&script, PermissionsExt::from_mode(0o700))?;
        bare.run_by(script);
        Ok(())
    }

    /// A file of it, from without.
    fn file(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.at.strip_prefix("/").unwrap_or(&self.at)).join(name)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
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

/// How long a stop may take where the record cannot be written.
const STOPPED: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_full_disk_delays_no_end_and_the_record_lacks_nothing_afterwards() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let disk = Disk::new(folder.path()).await?;
    let record = folder.path().join("record.jsonl");
    let arguments = ["--audit", record.to_str().context("no text")?];
    let mut stage = Stage::start_as("chaos-disk", &arguments, |bare| disk.serve(bare)).await?;
    let text = || Ok(fs::read_to_string(disk.file("record.jsonl"))?);
    stage.make("CloisterConfig", None, "cloister", json!({})).await?;
    until_said(&stage, "True", "Recorded").await?;
    let filler = disk.file("filler");

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
        until_said(stage, "False", "AuditUnavailable").await?;
        // One that is started on a full disk ends what ends, too.
        let since = Instant::now();
        let ended = stage.operator.take().context("no operator runs")?.stop().await?;
        ensure!(ended.success() && since.elapsed() <= STOPPED, "it ended with {ended} after {:?}", since.elapsed());
        stage.start_operator().await?;
        stage.until_alert("AuditSinkFailed", true).await?;
        stage.until_readiness(200, "nothing is opened").await
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
