//! Mounts that may have lost their grants, as the controller takes them away.

use super::grants::World;
use cloister_core::{
    child::{ChildKey, ChildKind},
    grant::{answers_for_share, has_begun, is_open, orphaned_mount},
};

impl World {
    /// Whether another grant counts on a mount.
    pub fn is_shared(&self, but: &str, mount: &str) -> bool {
        self.others_of(but, mount).any(|grant| is_open(grant, self.now))
    }

    /// Takes away a mount that no grant speaks for, as far as the budget goes.
    pub fn sweep(&mut self, mount: &ChildKey, budget: usize) {
        let name = mount.name.to_string();
        // A grant that is being revoked takes its mount away itself.
        let claimed = self.others_of("", &name).any(|grant| answers_for_share(grant) && has_begun(grant, self.now));
        if self.objects.0.contains_key(mount) && !claimed && !self.is_shared("", &name) {
            let plan = orphaned_mount(mount, &self.holders(&name));
            self.carry_out("", &plan, budget, &mut |_, _, _| {});
        }
    }

    pub fn mounts(&self) -> Vec<ChildKey> {
        self.objects.0.keys().filter(|key| key.kind == ChildKind::GrantMount).cloned().collect()
    }
}
