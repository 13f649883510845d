//! What a grant is for, as it was found in the catalogue.

use super::sensitivity::Sensitive;
use cloister_api::{AccessPolicy, Sensitivity};
use serde_json::Value;
use std::{cell::OnceCell, collections::BTreeMap};

/// What a grant is for, as it was found in the catalogue.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// The policy that decides.
    pub policy: &'a AccessPolicy,
    /// How much is at stake, where that is said.
    pub sensitive: Option<Sensitive>,
    /// Everything about the target that a decision rests on, by which its digest is made.
    pub meaning: Value,
    /// The hashes of that, once they were asked for.
    pub hashes: Hashes,
    /// The ClusterRole that is bound while the grant lasts.
    pub cluster_role: Option<&'a str>,
    /// What that allows, a line for each rule.
    pub rules: &'a [Box<str>],
    /// Why the policy may not decide about it, if it may not.
    pub unguarded: Option<String>,
}

impl Target<'_> {
    /// How much is at stake, where that is said.
    pub fn sensitivity(&self) -> Option<Sensitivity> {
        self.sensitive.as_ref().map(|said| said.sensitivity)
    }
}

/// The hashes of what a grant is for, and what of its policy is hashed: they are asked for several times at one look.
#[derive(Clone, Debug, Default)]
pub struct Hashes {
    pub(crate) policy: OnceCell<Value>,
    pub(crate) whole: OnceCell<String>,
    pub(crate) parts: OnceCell<BTreeMap<String, String>>,
}
