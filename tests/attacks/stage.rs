//! A cluster with the operator running in it, and what both of them write down.

use anyhow::{Context, Result, ensure};
use cloister_tests::eventually;
use serde_json::Value;
use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
    sync::{Mutex, PoisonError},
};
use tokio::sync::OnceCell;
use xtask::{
    cluster::{Cluster, Options, workspace_root},
    operator::{self, Operator},
    prepared,
};

/// A cluster and its operator.
pub struct Stage {
    pub cluster: Cluster,
    binary: PathBuf,
    folder: PathBuf,
    operator: Option<Operator>,
    requests: Mutex<Requests>,
}

/// What was refused of the requests to the API server, by the ids that the answers carried.
#[derive(Default)]
struct Requests {
    read: u64,
    refused: HashMap<String, Value>,
}

impl Stage {
    /// The one that tests share. Each keeps to a namespace of its own.
    pub async fn shared() -> &'static Stage {
        static STAGE: OnceCell<Result<Stage>> = OnceCell::const_new();
        match STAGE.get_or_init(|| Stage::own("attacks")).await {
            Ok(stage) => stage,
            Err(error) => panic!("there is no stage: {error:#}"),
        }
    }

    /// One for a test alone, which may end its operator.
    pub async fn own(name: &str) -> Result<Stage> {
        // What the last run left there is of no use to this one; what this one leaves is there to be read.
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let options =
            Options { name: name.to_owned(), audit_log: Some(folder.join("requests.jsonl")), ..Options::default() };
        let cluster = prepared::start(options, &workspace_root()?.join("deploy")).await?;
        let binary = tokio::task::spawn_blocking(operator::build).await??;
        let mut stage = Stage { cluster, binary, folder, operator: None, requests: Mutex::default() };
        stage.furnish().await?;
        stage.start_operator().await?;
        Ok(stage)
    }

    pub async fn start_operator(&mut self) -> Result<()> {
        self.start_operator_with(&[]).await
    }

    /// The same with these options besides.
    pub async fn start_operator_with(&mut self, more: &[&str]) -> Result<()> {
        let record = self.folder.join("record.jsonl");
        let arguments = [&["--log", "info", "--audit", record.to_str().context("a path")?], more].concat();
        let log = self.folder.join("operator.log");
        self.operator = Some(Operator::start(&self.binary, &self.cluster, &log, &arguments).await?);
        Ok(())
    }

    pub async fn stop_operator(&mut self) -> Result<()> {
        let operator = self.operator.take().context("it runs")?;
        ensure!(operator.stop().await?.success(), "told to end, it ends well");
        Ok(())
    }

    pub fn operator(&self) -> &Operator {
        self.operator.as_ref().expect("it runs")
    }

    /// The records of the operator that begin with the uid of an object, in order.
    pub fn record(&self, uid: &str) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(self.folder.join("record.jsonl"))?;
        let of_it = text.lines().filter(|line| line.contains(uid));
        let all = of_it.map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        Ok(all.into_iter().filter(|one| one["id"].as_str().is_some_and(|id| id.starts_with(uid))).collect())
    }

    /// Waits for a record about an object, such as `grant.denied`, and returns it.
    pub async fn recorded(&self, uid: &str, what: &str) -> Result<Value> {
        let wanted = format!("dev.cloister.{what}.v1");
        eventually(&format!("the record {wanted} of {uid}"), async || {
            let all = self.record(uid)?;
            let types = || all.iter().map(|one| one["type"].to_string()).collect::<Vec<_>>().join(", ");
            all.iter().find(|one| one["type"] == *wanted).cloned().with_context(|| format!("there is only {}", types()))
        })
        .await
    }

    /// How many requests the API server has recorded.
    pub fn requests(&self) -> Result<usize> {
        Ok(std::fs::read_to_string(self.folder.join("requests.jsonl"))?.lines().count())
    }

    /// The last request of the operator by a verb for an object, as its place in the API server's record.
    pub fn position(&self, verb: &str, resource: &str, namespace: &str, name: &str) -> Result<Option<usize>> {
        let text = std::fs::read_to_string(self.folder.join("requests.jsonl"))?;
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines.iter().rposition(|line| {
            line.contains(name)
                && serde_json::from_str::<Value>(line).is_ok_and(|event| {
                    let object = &event["objectRef"];
                    event["user"]["username"] == cloister_tests::OPERATOR
                        && event["verb"] == verb
                        && object["resource"] == resource
                        && object["namespace"] == namespace
                        && object["name"] == name
                })
        }))
    }

    /// Waits for the API server's own record of a request that was refused.
    pub async fn logged(&self, audit_id: &str) -> Result<Value> {
        eventually(&format!("the record of request {audit_id}"), async || {
            let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
            requests.read_on(self.folder.join("requests.jsonl"))?;
            requests.refused.get(audit_id).cloned().context("the API server has not recorded it")
        })
        .await
    }
}

impl Requests {
    fn read_on(&mut self, path: PathBuf) -> Result<()> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut new = Vec::new();
        file.read_to_end(&mut new)?;
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        for line in String::from_utf8_lossy(&new[..whole]).lines().filter(|line| line.contains(r#""code":4"#)) {
            let event: Value = serde_json::from_str(line)?;
            let id = event["auditID"].as_str().unwrap_or_default().to_owned();
            self.refused.insert(id, event);
        }
        Ok(())
    }
}
