//! Mounts that may have lost their grants, and pods that still hold their credentials, as the controller takes them away.

use super::grants::{World, mount_of, secret_of};
use cloister_api::{GrantPhase, GrantStatus, labels};
use cloister_core::{
    grant::{Copy, Grant, LastEnd, unclaimed},
    model::{
        child::{ChildKey, ChildKind},
        plan::Plan,
    },
};
use std::collections::BTreeSet;

impl World {
    /// Whether a grant speaks for a mount: it may have opened it, and takes it away itself.
    pub fn is_claimed(&self, mount: &str) -> bool {
        self.is_claimed_by_another("", mount)
    }

    /// Takes away a mount that no grant speaks for, and what holds its credential, as far as the budget goes.
    pub fn sweep(&mut self, mount: &ChildKey, budget: usize) {
        if let Some(plan) = self.unclaimed(mount) {
            self.carry_out("", &plan, budget, &mut |_, _, _| {});
        }
    }

    /// How a mount is taken away that no grant speaks for.
    pub fn unclaimed(&self, mount: &ChildKey) -> Option<Plan<GrantStatus>> {
        let name = mount.name.to_string();
        if self.is_claimed(&name) {
            return None;
        }
        let children = self.objects.observe();
        let holders = self.holders(&name);
        let last = self.last_end(&name);
        let on_expiry = last.map(|end| end.on_expiry).unwrap_or_default();
        let copy = Copy { mount: &name, children: &children, holders: &holders, on_expiry, now: self.now };
        Some(unclaimed(&copy, !self.secrets.contains(&secret_of(&name)), last))
    }

    /// The mounts that stand, and those whose copies are not known to be destroyed.
    pub fn left(&self) -> BTreeSet<ChildKey> {
        let left = self.secrets.iter().filter_map(|secret| secret.strip_prefix(labels::GRANT_SECRET_PREFIX));
        let left = left.map(|mount| ChildKey::new(ChildKind::GrantMount, mount));
        self.mounts().into_iter().chain(left).collect()
    }

    pub fn mounts(&self) -> Vec<ChildKey> {
        self.objects.0.keys().filter(|key| key.kind == ChildKind::GrantMount).cloned().collect()
    }

    /// The grant of a mount that ended last.
    pub fn last_end(&self, mount: &str) -> Option<LastEnd> {
        let ended = self.grants.iter().filter(|(key, _)| self.can_read(key)).filter_map(|(_, grant)| {
            let Grant::Storage(storage) = grant else { return None };
            let status = grant.status().filter(|status| {
                matches!(status.phase, GrantPhase::Expired | GrantPhase::Revoked) && status.activated_at.is_some()
            })?;
            (mount_of(grant)? == mount)
                .then_some(LastEnd { at: status.ended_at.as_ref()?.0, on_expiry: storage.spec.on_expiry })
        });
        ended.max_by_key(|end| end.at)
    }
}
