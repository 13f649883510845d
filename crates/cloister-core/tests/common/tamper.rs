//! What somebody with the operator's token writes into the status of a grant, as far as admission lets a phase follow on
//! another and an approval stay as it is.

use super::grants::{Shelf, World, reference};
use cloister_api::{
    BreakGlassStatus, Decision, GrantPhase, GrantStatus, Identity, Member, MemberRole, MemberSubject, RecordedReview,
    RuleApprovals, SubjectKind,
};
use cloister_core::model::child::{ChildKey, ChildKind};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How many ways there are.
pub const TAMPERING: usize = 15;

/// What the operator would write of a request if its policy approved everything, and nobody had left and no account was gone.
fn as_approved(world: &World, key: &str) -> Option<GrantStatus> {
    let mut generous = world.clone();
    if let Shelf::Read(policy) = &mut generous.policy {
        policy.spec.auto_approve = vec!["true".to_owned()];
    }
    let were = world.grants[key].status().map(|status| status.members.clone()).unwrap_or_default();
    let subjects = were.into_iter().map(|name| MemberSubject { kind: SubjectKind::User, name, namespace: None });
    generous.members.push(Member { role: MemberRole::Viewer, subjects: subjects.collect() });
    generous.declare("trainer", true);
    let digest = world.plan(key).status.or_else(|| world.grants[key].status().cloned())?.digest;
    generous.plan(key).status.map(|status| GrantStatus { digest, ..status })
}

fn somebody(groups: &[&str]) -> Identity {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    Identity { username: "nobody".to_owned(), groups, ..Identity::default() }
}

/// Writes something else into a status; `known` are the reviews that there are, as they would be recorded.
pub fn tamper(world: &mut World, key: &str, what: usize, known: &[RecordedReview]) {
    let Some(grant) = world.grants.get(key) else { return };
    let phase = grant.phase();
    let (now, later) = (Time(world.now), Time(world.now + SignedDuration::from_hours(90_000)));
    let forged = RecordedReview {
        name: "forged".to_owned(),
        uid: "forged".to_owned(),
        decision: Decision::Approve,
        reviewer: somebody(&["security", "owners"]),
    };
    if what < 3 && phase == GrantPhase::Pending {
        let approved = as_approved(world, key).filter(|status| status.phase == GrantPhase::Approved);
        let Some(mut status) = approved else { return };
        match what {
            0 => status.phase = GrantPhase::Active,
            1 => status.reviews = vec![forged],
            _ => status.reviews = known.to_vec(),
        }
        *world.grants.get_mut(key).unwrap().status_mut() = Some(status);
        return;
    }
    let Some(status) = world.grants.get_mut(key).unwrap().status_mut() else { return };
    match what {
        0 if matches!(phase, GrantPhase::Approved) => status.phase = GrantPhase::Active,
        3 => status.expires_at = Some(later),
        4 => status.approved_at = Some(later),
        5 => {
            status.approvals =
                vec![RuleApprovals { rule: "security".to_owned(), required: 1, approved_by: vec!["nobody".to_owned()] }]
        }
        6 => status.reviews.clear(),
        7 => status.reviews.push(forged),
        8 => {
            let due = later.clone();
            let glass = status.break_glass.get_or_insert(BreakGlassStatus {
                skipped: Vec::new(),
                review_due_at: due,
                reviewed_by: None,
                reviewed_at: None,
            });
            (glass.reviewed_by, glass.reviewed_at) = (Some("nobody".to_owned()), Some(later));
        }
        9 => status.break_glass = None,
        10 => {
            status.phase = GrantPhase::Expired;
            (status.ended_at, status.secret_name) = (Some(now), None);
        }
        11 => status.phase = if phase == GrantPhase::Pending { GrantPhase::Denied } else { GrantPhase::Revoked },
        12 => (status.secret_destroyed, status.secret_name) = (true, None),
        13 if phase != GrantPhase::Pending => status.phase = GrantPhase::Revoking,
        // What was beside the copy of its credential is deleted with it.
        14 if phase != GrantPhase::Pending => {
            status.phase = GrantPhase::Expired;
            (status.ended_at, status.activated_at, status.secret_name) = (None, None, None);
            let mount = world.mount_of(key);
            let own = |name: &ChildKey| world.objects.seen(name).is_some_and(|seen| seen.grant == Some(reference(key)));
            let is_mount = |name: &ChildKey| {
                mount.as_ref().is_some_and(|mount| *name == ChildKey::new(ChildKind::GrantMount, mount))
            };
            let gone: Vec<ChildKey> =
                world.objects.0.keys().filter(|name| own(name) || is_mount(name)).cloned().collect();
            gone.iter().for_each(|name| drop(world.objects.0.remove(name)));
        }
        _ => {}
    }
}
