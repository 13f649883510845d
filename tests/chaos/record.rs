//! An audit record that cannot be written: what ends, ends; nothing opens; and nothing is lost that can be known.

use crate::stage::{Reach, Stage};
use anyhow::{Context, Result, ensure};
use cloister_api::GrantKind;
use cloister_core::audit::Proof;
use cloister_tests::eventually;
use jiff::Timestamp;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{io::AsyncReadExt, net::unix::pipe, task::JoinHandle};

const DURING: Duration = Duration::from_secs(20);

/// What a record says of each grant, in order. The chain must hold.
pub fn read(text: &str) -> Result<(Proof, BTreeMap<String, Vec<String>>)> {
    let mut proof = Proof::default();
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        proof.take(line)?;
        let record: Value = serde_json::from_str(line)?;
        let what = record["type"].as_str().unwrap_or_default().trim_start_matches("dev.cloister.grant.");
        let subject = record["subject"].as_str().unwrap_or_default().to_owned();
        all.entry(subject).or_default().push(what.trim_end_matches(".v1").to_owned());
    }
    Ok((proof, all))
}

/// Waits until the record says of each grant all that happened, once and in order, and returns its proof.
pub async fn complete(stage: &Stage, text: impl Fn() -> Result<String>) -> Result<Proof> {
    eventually("the record to be complete", async || {
        let (proof, all) = read(&text()?)?;
        for asked in stage.asked() {
            let mut wanted = vec!["requested", "approved", "activated"];
            if asked.end <= Timestamp::now() {
                wanted.push("expired");
            }
            let subject = format!("{}/{}/{}", asked.kind.as_str(), asked.namespace, asked.name);
            let said = all.get(&subject).with_context(|| format!("nothing is recorded of {subject}"))?;
            ensure!(*said == wanted, "of {subject} is recorded {said:?}");
        }
        Ok(proof)
    })
    .await
}

/// Asks for what is not opened without a record, and sees that this is said.
pub async fn nothing_opens(stage: &mut Stage) -> Result<()> {
    for kind in GrantKind::ALL {
        stage.ask_in_vain(kind, "AuditUnavailable").await?;
    }
    stage.until_alert("AuditSinkFailed", true).await?;
    stage.until_readiness(200, "nothing is opened").await
}

#[tokio::test]
async fn a_record_that_cannot_be_written_or_is_deleted_delays_no_end_and_lacks_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let record = folder.path().join("record.jsonl");
    let text = || Ok(fs::read_to_string(&record)?);
    let mut stage = Stage::start("chaos-record", &["--audit", record.to_str().context("no text")?]).await?;
    let aside = folder.path().join("aside.jsonl");
    let fill = async |stage: &mut Stage| {
        // At no moment is there none, which would be begun.
        let full = folder.path().join("full");
        fs::hard_link(&record, &aside)?;
        symlink("/dev/full", &full)?;
        fs::rename(&full, &record)?;
        nothing_opens(stage).await
    };
    stage
        .play("the record on a device that is full", Reach::Answered, fill, DURING, async |stage| {
            stage.nothing_held_is_open().await?;
            Ok(fs::rename(&aside, &record)?)
        })
        .await?;
    stage.until_alert("AuditSinkFailed", false).await?;
    let proof = complete(&stage, text).await?;
    ensure!(proof.chains == 2 && proof.resumed.len() == 1, "it does not say that it was interrupted: {proof:?}");
    println!("the record on a device that is full: {} records, none missing and none twice", proof.records);

    let delete = async |_: &mut Stage| Ok(fs::remove_file(&record)?);
    stage.play("the record deleted", Reach::Answered, delete, DURING, async |_| Ok(())).await?;
    let proof = complete(&stage, text).await?;
    ensure!(proof.chains == 1 && proof.resumed.len() == 1, "it does not say why it begins: {proof:?}");
    println!("the record deleted: begun anew with {} records, of all grants that are there", proof.records);
    stage.give_back().await
}

/// A pipe that the record is written to, and whoever reads it.
struct Pipe {
    path: PathBuf,
    /// While it is open, a write fails for want of readers at no moment.
    _open: fs::File,
    read: Arc<Mutex<Vec<u8>>>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

impl Pipe {
    fn new(path: &Path) -> Result<Self> {
        ensure!(std::process::Command::new("mkfifo").arg(path).status()?.success(), "no pipe");
        let open = fs::File::options().read(true).write(true).open(path)?;
        let pipe = Pipe { path: path.to_owned(), _open: open, read: Arc::default(), reader: Mutex::default() };
        pipe.go_on()?;
        Ok(pipe)
    }

    /// Reads what comes.
    fn go_on(&self) -> Result<()> {
        let mut receiver = pipe::OpenOptions::new().read_write(true).open_receiver(&self.path)?;
        let read = self.read.clone();
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(count) = receiver.read(&mut buffer).await {
                lock(&read).extend_from_slice(&buffer[..count]);
            }
        });
        *lock(&self.reader) = Some(reader);
        Ok(())
    }

    /// Stops reading, and fills the pipe with empty lines.
    async fn stand_still(&self) -> Result<()> {
        if let Some(reader) = lock(&self.reader).take() {
            reader.abort();
        }
        let filler = pipe::OpenOptions::new().read_write(true).open_sender(&self.path)?;
        filler.writable().await?;
        loop {
            match filler.try_write(b"\n") {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn text(&self) -> Result<String> {
        Ok(String::from_utf8(lock(&self.read).clone())?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::test]
async fn a_record_that_nobody_reads_delays_no_end_and_lacks_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("pipe");
    let pipe = Pipe::new(&path)?;
    let mut stage = Stage::start("chaos-pipe", &["--audit", path.to_str().context("no text")?]).await?;
    let block = async |stage: &mut Stage| {
        pipe.stand_still().await?;
        nothing_opens(stage).await
    };
    stage
        .play("the reader of the record stands still", Reach::Answered, block, DURING, async |stage| {
            stage.nothing_held_is_open().await?;
            pipe.go_on()
        })
        .await?;
    stage.until_alert("AuditSinkFailed", false).await?;
    let proof = complete(&stage, || pipe.text()).await?;
    ensure!(proof.chains == 1, "nothing was cut off, and yet a chain begins: {proof:?}");
    println!("the reader of the record stands still: {} records, none missing and none twice", proof.records);
    stage.give_back().await
}
