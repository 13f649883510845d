//! How urgent a key is, and whose turn it must wait for, by what is known of its object now.

use super::Index;
use crate::{
    decode::Decoded,
    key::Key,
    lane::{Group, Lane, Mode, Ticket},
};
use cloister_api::{GrantPhase, ResearchNamespace};
use cloister_core::{
    grant::{CredentialMountKey, Grant, is_approved},
    model::child::GrantRef,
};
use jiff::Timestamp;
use std::sync::Arc;

impl Index {
    /// The ticket of a key.
    pub fn ticket(&self, key: &Key, now: Timestamp) -> Ticket {
        match key {
            Key::Grant(namespace, grant) => self.grant_ticket(namespace, grant, now),
            Key::Mount(namespace, name) => {
                let group = Group::Mount(namespace.clone(), (**name).into());
                Ticket { lane: Lane::Closing, turns: vec![(group, Mode::End)] }
            }
            Key::Namespace(name) if self.research.get(name).is_some_and(closes) => Ticket::of(Lane::Closing),
            key if key.can_wait() => Ticket::of(Lane::Status),
            _ => Ticket::default(),
        }
    }

    fn grant_ticket(&self, namespace: &Arc<str>, at: &GrantRef, now: Timestamp) -> Ticket {
        let Some(found) = self.grant(namespace, at) else { return Ticket::default() };
        // What cannot be read closes what it opened.
        let Ok(grant) = &found.object else { return Ticket::of(Lane::Closing) };
        let ends = matches!(grant.phase(), GrantPhase::Approved | GrantPhase::Active)
            && (!is_approved(grant, now) || self.is_closed(namespace) || self.is_revoked(namespace, at));
        let lane = match grant.phase() {
            GrantPhase::Revoking => Lane::Ending,
            _ if ends => Lane::Ending,
            GrantPhase::Active => Lane::Closing,
            _ => Lane::Normal,
        };
        let mut turns = Vec::new();
        match grant.phase() {
            GrantPhase::Pending => asks(namespace, grant, &mut turns),
            GrantPhase::Approved | GrantPhase::Active | GrantPhase::Revoking => {
                let mode = if lane == Lane::Ending { Mode::End } else { Mode::Open };
                turns.extend(mount_of(namespace, found).map(|group| (group, mode)));
            }
            GrantPhase::Expired | GrantPhase::Revoked | GrantPhase::Denied | GrantPhase::TimedOut => {}
        }
        Ticket { lane, turns }
    }

    /// Whether the research namespace is closed, so that its grants end.
    fn is_closed(&self, namespace: &str) -> bool {
        let terminating = self.namespaces.get(namespace).is_some_and(|(observed, _)| observed.terminating);
        let open =
            |home: &Decoded<ResearchNamespace>| home.metadata.deletion_timestamp.is_none() && home.object.is_ok();
        terminating || !self.research.get(namespace).is_some_and(open)
    }

    /// Whether somebody asks for its end, be it theirs to ask or not.
    fn is_revoked(&self, namespace: &Arc<str>, grant: &GrantRef) -> bool {
        self.reviews_of.get(&(namespace.clone(), grant.clone())).is_some_and(|of| !of.revokes.is_empty())
    }
}

/// Whether a research namespace may take something away that it has opened: it is being closed, cannot be read, or was
/// declared anew.
fn closes(research: &Decoded<ResearchNamespace>) -> bool {
    let Ok(object) = &research.object else { return true };
    let said = object.status.as_ref().filter(|status| status.enforced_at.is_some());
    research.metadata.deletion_timestamp.is_some()
        || said.is_some_and(|status| status.observed_generation != research.metadata.generation)
}

/// The turns of a request that is to be decided: what it gets depends on what others have got before it.
fn asks(namespace: &Arc<str>, grant: &Grant, turns: &mut Vec<(Group, Mode)>) {
    if let Some(key) = CredentialMountKey::of(grant) {
        turns.push((Group::Requests(namespace.clone(), key.account.into()), Mode::Alone));
    }
    let terms = grant.terms();
    if let Some(requester) = terms.requested_by.filter(|_| terms.break_glass) {
        // Two accounts that are known to be one person's have one of these in common.
        let known_by = [("username", &requester.username), ("uid", &requester.uid), ("person", &requester.person_key)];
        let known_by = known_by.into_iter().filter(|(_, value)| !value.is_empty());
        turns.extend(known_by.map(|(by, value)| (Group::BreakGlass(by, value.as_str().into()), Mode::Alone)));
    }
}

/// The group of a grant's mount.
pub fn mount_of(namespace: &Arc<str>, grant: &Decoded<Grant>) -> Option<Group> {
    grant.mount().map(|mount| Group::Mount(namespace.clone(), mount.into()))
}
