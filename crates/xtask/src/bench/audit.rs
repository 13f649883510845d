//! The writes that the API server answered to the operator's identity, counted from its audit log.

use anyhow::{Context, Result};
use cloister_api::labels;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::PathBuf,
};

/// The audit log of a cluster.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
}

/// A place in an audit log.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u64);

/// The writes since a [`Mark`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// How many there were of each verb and resource.
    pub by_kind: BTreeMap<String, u64>,
    /// How many of them were refused, by verb, resource and status code.
    pub refused: BTreeMap<String, u64>,
}

impl Writes {
    /// How many there were.
    pub fn total(&self) -> u64 {
        self.by_kind.values().sum()
    }

    /// They in one line.
    pub fn describe(&self) -> String {
        self.by_kind.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
    }
}

impl Audit {
    /// The log in this file.
    pub fn new(path: PathBuf) -> Self {
        Audit { path }
    }

    /// The end of the log, now.
    ///
    /// # Errors
    ///
    /// There is no log.
    pub fn mark(&self) -> Result<Mark> {
        Ok(Mark(std::fs::metadata(&self.path).context("the API server writes no audit log")?.len()))
    }

    /// The writes since then.
    ///
    /// # Errors
    ///
    /// The log cannot be read.
    pub fn since(&self, mark: Mark) -> Result<Writes> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(mark.0))?;
        let identity = format!("system:serviceaccount:{}:{}", labels::SYSTEM_NAMESPACE, labels::OPERATOR_ACCOUNT);
        let mut writes = Writes::default();
        for line in BufReader::new(file).lines() {
            // The last line may be half written; the others are of other forms, or of no interest.
            let Ok(entry) = serde_json::from_str::<Entry>(&line?) else { continue };
            let mutates = matches!(&*entry.verb, "create" | "update" | "patch" | "delete" | "deletecollection");
            // That it goes on holding its Lease changes nothing.
            if entry.user.username != identity || !mutates || entry.object.resource == "leases" {
                continue;
            }
            let subresource = entry.object.subresource.map(|name| format!("/{name}")).unwrap_or_default();
            let what = format!("{} {}{subresource}", entry.verb, entry.object.resource);
            if let Some(code) = entry.response.map(|response| response.code).filter(|code| *code >= 400) {
                *writes.refused.entry(format!("{what} ({code})")).or_default() += 1;
            }
            *writes.by_kind.entry(what).or_default() += 1;
        }
        Ok(writes)
    }
}

#[derive(Deserialize)]
struct Entry {
    verb: String,
    user: User,
    #[serde(rename = "objectRef")]
    object: Object,
    #[serde(rename = "responseStatus")]
    response: Option<Response>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct Object {
    resource: String,
    subresource: Option<String>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    code: u16,
}
