//! The chain of records: each line carries the hash of the line before, and its own.

use super::{Record, record::RESUMED};
use crate::model::hash::hash;
use serde_json::{Map, Value, json};

/// Where the chain is: the number and the hash of its last line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// How many lines there are.
    pub length: u64,
    /// The hash of the last; empty where there is none.
    pub hash: String,
}

impl Head {
    /// The next line of the chain, without its line break.
    pub fn append(&mut self, record: &Record) -> String {
        let mut line = json!({
            "specversion": "1.0",
            "id": record.id,
            "source": SOURCE,
            "type": record.r#type,
            "time": record.time.to_string(),
            "subject": record.subject,
            "datacontenttype": "application/json",
            "data": record.data,
            "sequence": self.length.to_string(),
            "previoushash": self.hash,
        });
        self.hash = hash(&line);
        self.length += 1;
        if let Some(line) = line.as_object_mut() {
            line.insert("hash".into(), json!(self.hash));
        }
        line.to_string()
    }
}

/// The source of every record.
const SOURCE: &str = "/cloister.dev/operator";

/// A chain that holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// How many records there are.
    pub records: u64,
    /// How many chains: a sink that cannot be read back begins a new one with each start of the operator.
    pub chains: u64,
    /// Where the last chain is.
    pub head: Head,
    /// Why chains that say so began: the line, from 1, and what was wrong with what came before. The last few of them.
    pub resumed: Vec<(u64, String)>,
}

/// How many reasons a proof remembers.
const REASONS: usize = 64;

/// Where a chain is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Broken {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

impl Proof {
    /// Takes the next line into the proof.
    ///
    /// # Errors
    ///
    /// It does not follow from the lines before.
    pub fn take(&mut self, line: &str) -> Result<String, Broken> {
        let broken = |why: String| Broken { line: self.records + 1, why };
        let mut value: Value =
            serde_json::from_str(line).map_err(|error| broken(format!("it is not JSON: {error}")))?;
        let Some(fields) = value.as_object_mut() else { return Err(broken("it is not a record".into())) };
        let text =
            |fields: &Map<String, Value>, name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let (Some(claimed), Some(previous), Some(sequence)) =
            (text(fields, "hash"), text(fields, "previoushash"), text(fields, "sequence"))
        else {
            return Err(broken("it has no hash, previoushash or sequence".into()));
        };
        let id = text(fields, "id").unwrap_or_default();
        let why = fields.get("data").and_then(|data| data.get("why")).and_then(Value::as_str);
        let resumed = (text(fields, "type").as_deref() == Some(RESUMED)).then(|| why.unwrap_or_default().to_owned());
        fields.remove("hash");
        if hash(&value) != claimed {
            return Err(broken(format!("record {id} was changed: its hash does not match")));
        }
        let begins = previous.is_empty() && sequence == "0";
        if begins {
            self.chains += 1;
            self.head = Head::default();
        }
        if previous != self.head.hash || sequence != self.head.length.to_string() {
            return Err(broken(format!(
                "record {id} does not follow the previous record: it has number {sequence} after {} records of the chain; a \
                 record was removed or inserted",
                self.head.length
            )));
        }
        self.records += 1;
        if let Some(why) = resumed.filter(|_| begins) {
            if self.resumed.len() == REASONS {
                self.resumed.remove(0);
            }
            self.resumed.push((self.records, why));
        }
        self.head = Head { length: self.head.length + 1, hash: claimed };
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::resumed;
    use jiff::Timestamp;

    fn lines() -> Vec<String> {
        let mut head = Head::default();
        let record = |n: i64| Record {
            id: format!("u{n}.requested"),
            r#type: "dev.cloister.grant.requested.v1".into(),
            time: Timestamp::from_second(n).unwrap(),
            subject: "StorageAccessGrant/interp/run".into(),
            data: json!({"n": n, "b": [1, 2], "a": "\u{e9}"}),
        };
        (0..5).map(|n| head.append(&record(n))).collect()
    }

    fn verify(lines: &[String]) -> Result<Proof, Broken> {
        let mut proof = Proof::default();
        lines.iter().try_for_each(|line| proof.take(line).map(drop))?;
        Ok(proof)
    }

    #[test]
    fn a_chain_holds() {
        let proof = verify(&lines()).unwrap();
        assert_eq!((proof.records, proof.chains, proof.head.length), (5, 1, 5));
        let twice = [lines(), lines()].concat();
        assert_eq!(verify(&twice).unwrap().chains, 2);
    }

    #[test]
    fn the_first_broken_line_is_named() {
        let mut changed = lines();
        changed[2] = changed[2].replace("\"n\":2", "\"n\":7");
        assert_eq!(verify(&changed).unwrap_err().line, 3);
        let mut without = lines();
        without.remove(1);
        assert_eq!(verify(&without).unwrap_err().line, 2);
        let mut swapped = lines();
        swapped.swap(3, 4);
        assert_eq!(verify(&swapped).unwrap_err().line, 4);
        let mut torn = lines();
        torn[4].truncate(30);
        assert_eq!(verify(&torn).unwrap_err().line, 5);
        // Without its beginning it is no chain.
        assert_eq!(verify(&lines()[1..]).unwrap_err().line, 1);
    }

    #[test]
    fn whoever_writes_the_hash_anew_breaks_the_next_line() {
        let mut forged = lines();
        let mut value: Value = serde_json::from_str(&forged[1]).unwrap();
        value["data"]["n"] = json!(7);
        value.as_object_mut().unwrap().remove("hash");
        let hash = hash(&value);
        value["hash"] = json!(hash);
        forged[1] = value.to_string();
        assert_eq!(verify(&forged).unwrap_err().line, 3);
    }

    #[test]
    fn why_a_chain_begins_anew_is_told_by_the_proof() {
        let mut proof = Proof::default();
        lines().iter().for_each(|line| drop(proof.take(line).unwrap()));
        let note = resumed("the file was moved away", &proof.head, Timestamp::from_second(9).unwrap());
        let line = Head::default().append(&note);
        assert!(line.contains(&proof.head.hash), "it names what it follows");
        proof.take(&line).unwrap();
        assert_eq!((proof.chains, proof.records), (2, 6));
        assert_eq!(proof.resumed, [(6, "the file was moved away".to_owned())]);
    }
}
