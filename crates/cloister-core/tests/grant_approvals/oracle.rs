//! Says by brute force whether what stands was agreed to and has not ended. It uses none of the engine's own judgement:
//! it keeps its own book of approvals, made when one is written, and reads policies and people as they are.

use super::{
    facts::{
        Meaning, accounts, all_are_declared, enough, is_open, keeps, meaning, members_of, of, permitted, revokes,
        rules_of, strong_enough,
    },
    grants::{Shelf, World, reference},
    model::Catalogue,
};
use cloister_api::*;
use cloister_core::{
    grant::{Grant, Home},
    model::{child::ChildKind, plan::Action},
};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Policy,
    People,
    Glass,
}

/// What a decision of the operator means, if it is written.
#[derive(Default)]
pub struct Ruling {
    /// What it approves.
    approval: Option<Approval>,
    /// Of whoever asks and gets it, those who were seen to be members.
    members: BTreeSet<String>,
    /// Whether people may decide about what somebody asked for who has left.
    is_kept: bool,
}

#[derive(Clone, Debug)]
struct Approval {
    how: How,
    by: Vec<Identity>,
    meaning: Meaning,
    end: Timestamp,
    /// It was made in a cluster that was since put back to an older state.
    is_undone: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// What each digest stood for when it was first said.
    meanings: BTreeMap<String, Meaning>,
    /// By the grants' uids.
    approvals: BTreeMap<String, Approval>,
    /// The grants that the operator has had a whole turn at since they were over.
    seen: BTreeSet<String>,
    /// When those would end at the latest of which somebody else than the operator has written that they are approved, by
    /// their uids. That gives nothing: but what everybody has agreed to may open, whoever has written it down.
    pretended: BTreeMap<String, Timestamp>,
    /// The requests that were ever refused, or not decided in time, by their uids: that the cluster is put back helps
    /// none of them.
    refused: BTreeSet<String>,
    /// Of whoever asks for a grant and gets it, those who were members at a look of the operator while it waited, by the
    /// grants' uids.
    members: BTreeMap<String, BTreeSet<String>>,
    /// The grants that had ended and of which somebody else than the operator has written that they are being revoked: they
    /// speak for their mounts again, until the operator has had a turn at them.
    to_end_again: BTreeSet<String>,
}

impl Oracle {
    /// The status of a pending grant was written.
    pub fn wrote(&mut self, world: &World, catalogue: Catalogue, key: &str, uid: &str, after: GrantPhase) {
        let status = world.grants[key].status().unwrap();
        let decided = self.decided(world, catalogue, key, status);
        self.was_decided(uid, after, decided);
    }

    /// This is decided about a request, by what is known.
    pub fn decided(&mut self, known: &World, catalogue: Catalogue, key: &str, status: &GrantStatus) -> Ruling {
        let grant = &known.grants[key];
        let members = members_of(known, grant);
        let meaning = meaning(grant, catalogue);
        if !status.digest.is_empty() {
            self.meanings.entry(status.digest.clone()).or_insert_with(|| meaning.clone());
        }
        if status.phase != GrantPhase::Approved {
            return Ruling { approval: None, members, is_kept: false };
        }
        // By what this operator knows of them. Whether that is all is asked when it is written.
        let were = grant.status().map(|status| status.members.iter().cloned().collect()).unwrap_or_default();
        let (how, by) =
            self.agreed(known, catalogue, grant, &were).unwrap_or_else(|why| panic!("{key} is approved: {why}"));
        let terms = grant.terms();
        let asked = SignedDuration::try_from(std::time::Duration::from(terms.requested_duration.unwrap())).unwrap();
        let end = terms.start_time.map_or(known.now, |start| start.0) + asked;
        assert_eq!(status.expires_at.as_ref().unwrap().0, end, "{key} ends otherwise");
        assert!(asked.as_secs() <= if how == How::Glass { 300 } else { 800 }, "{key} lasts too long");
        let is_kept = how == How::People && matches!(&known.policy, Shelf::Read(policy) if keeps(&policy.spec));
        Ruling { approval: Some(Approval { how, by, meaning, end, is_undone: false }), members, is_kept }
    }

    /// A decision about a request was written.
    pub fn was_decided(&mut self, uid: &str, after: GrantPhase, ruling: Ruling) {
        let were = self.members.entry(uid.to_owned()).or_default();
        let nobody_has_left = were.is_subset(&ruling.members);
        were.extend(ruling.members);
        if matches!(after, GrantPhase::Denied | GrantPhase::TimedOut) {
            self.refused.insert(uid.to_owned());
        }
        if after == GrantPhase::Approved {
            assert!(!self.refused.contains(uid), "{uid} was refused, and is approved");
            assert!(nobody_has_left || ruling.is_kept, "{uid} is approved, and a member has left");
            self.seen.remove(uid);
            self.approvals.insert(uid.to_owned(), ruling.approval.expect("nobody has decided"));
        }
    }

    /// Whether it was ever written that a grant is approved.
    pub fn is_approved(&self, uid: &str) -> bool {
        self.approvals.contains_key(uid)
    }

    /// Somebody else than the operator has written that a request is approved.
    pub fn pretended(&mut self, world: &World, catalogue: Catalogue, key: &str) {
        let grant = &world.grants[key];
        let (uid, terms) = (grant.metadata().uid.clone().unwrap(), grant.terms());
        let asked = SignedDuration::try_from(std::time::Duration::from(terms.requested_duration.unwrap())).unwrap();
        let end = terms.start_time.map_or(world.now, |start| start.0) + asked;
        let were = self.members.get(&uid).cloned().unwrap_or_default();
        if let (Ok((how, by)), false) = (self.agreed(world, catalogue, grant, &were), self.refused.contains(&uid)) {
            let meaning = meaning(grant, catalogue);
            self.approvals.insert(uid.clone(), Approval { how, by, meaning, end, is_undone: false });
        }
        self.pretended.insert(uid, end);
    }

    /// Whether what somebody else has written follows from what people have: by the policy alone, or by all who agree.
    fn follows(&self, world: &World, grant: &Grant) -> Result<(), &'static str> {
        let end = self.pretended.get(grant.metadata().uid.as_ref().unwrap()).ok_or("never approved")?;
        if *end <= world.now || grant.metadata().deletion_timestamp.is_some() || world.home == Home::Closed {
            return Err("its time is over");
        }
        let Shelf::Read(policy) = &world.policy else { return Err("there is no policy") };
        let requester = grant.terms().requested_by.ok_or("nobody asks")?;
        permitted(grant, requester, &policy.spec)?;
        self.nobody_has_left(world, grant, &policy.spec)?;
        all_are_declared(world, grant)?;
        if world.settings.usable {
            strong_enough(world, grant, &policy.spec)?;
        }
        let reviews = of(world, grant);
        if reviews.iter().any(|review| revokes(world, grant, requester, review, &policy.spec)) {
            return Err("it was revoked");
        }
        if !policy.spec.auto_approve.is_empty() && !requester.username.starts_with("system:serviceaccount:") {
            return Ok(());
        }
        let agree = reviews.iter().filter(|review| review.spec.decision == Decision::Approve);
        let by: Vec<Identity> = agree.filter_map(|review| review.spec.reviewer.clone()).collect();
        enough(world, grant, requester, &by, &accounts(&reviews, requester, &[]), &policy.spec)
    }

    /// Who agrees to a request of people of whom these were members, where it is enough.
    fn agreed(
        &self,
        world: &World,
        catalogue: Catalogue,
        grant: &Grant,
        were: &BTreeSet<String>,
    ) -> Result<(How, Vec<Identity>), &'static str> {
        let has_left = !were.is_subset(&members_of(world, grant));
        let Shelf::Read(policy) = &world.policy else { return Err("there is no policy") };
        let requester = grant.terms().requested_by.ok_or("nobody asks")?;
        permitted(grant, requester, &policy.spec)?;
        if has_left && !keeps(&policy.spec) {
            return Err("a member has left");
        }
        all_are_declared(world, grant)?;
        strong_enough(world, grant, &policy.spec)?;
        if world.home != Home::Enforced || !world.settings.usable || grant.metadata().deletion_timestamp.is_some() {
            return Err("nothing is decided here");
        }
        let now = meaning(grant, catalogue);
        let reviews = of(world, grant);
        let accounts = accounts(&reviews, requester, &[]);
        let about_this = |review: &&&AccessReview| self.meanings.get(&review.spec.digest) == Some(&now);
        let eligible = |who: &Identity| !rules_of(world, grant, requester, who, &accounts, &policy.spec).is_empty();
        if reviews.iter().any(|review| revokes(world, grant, requester, review, &policy.spec)) {
            return Err("it was taken back");
        }
        let said = |decision: Decision| {
            let about = reviews.iter().filter(about_this).filter(move |review| review.spec.decision == decision);
            about.filter_map(|review| review.spec.reviewer.clone()).collect::<Vec<_>>()
        };
        if said(Decision::Deny).iter().any(eligible) {
            return Err("somebody has refused");
        }
        let is_account = requester.username.starts_with("system:serviceaccount:");
        if grant.terms().break_glass {
            let owes = |other: &Grant| {
                let glass = other.status().and_then(|status| status.break_glass.as_ref());
                let theirs = other.terms().requested_by.is_some_and(|by| by.username == requester.username);
                theirs
                    && other.metadata().uid != grant.metadata().uid
                    && glass.is_some_and(|glass| glass.reviewed_by.is_none())
            };
            return if world.grants.values().any(owes) {
                Err("a review is owed")
            } else if has_left {
                Err("a member has left")
            } else {
                Ok((How::Glass, Vec::new()))
            };
        }
        // What somebody asked for who has left is looked at by people.
        if !policy.spec.auto_approve.is_empty() && !is_account && !has_left {
            return Ok((How::Policy, Vec::new()));
        }
        let by = said(Decision::Approve);
        enough(world, grant, requester, &by, &accounts, &policy.spec)?;
        Ok((How::People, by))
    }

    /// Why a grant has no valid approval any more, if it has none.
    pub fn why_over(&self, world: &World, catalogue: Catalogue, key: &str) -> Option<&'static str> {
        let grant = &world.grants[key];
        let Some(approval) = self.approvals.get(grant.metadata().uid.as_ref().unwrap()) else {
            return self.follows(world, grant).err();
        };
        self.still(world, catalogue, grant, approval).err()
    }

    fn still(
        &self,
        world: &World,
        catalogue: Catalogue,
        grant: &Grant,
        approval: &Approval,
    ) -> Result<(), &'static str> {
        if approval.is_undone {
            return Err("the cluster was put back");
        }
        if approval.end <= world.now {
            return Err("its time is over");
        }
        if grant.metadata().deletion_timestamp.is_some() {
            return Err("it was deleted");
        }
        if world.home == Home::Closed {
            return Err("the namespace is closed");
        }
        let Shelf::Read(policy) = &world.policy else { return Err("there is no policy") };
        let (_, (_, again), target) = meaning(grant, catalogue);
        if again != approval.meaning.1.1 {
            return Err("the policy is another");
        }
        if target != approval.meaning.2 {
            return Err("what it is for is another");
        }
        let requester = grant.terms().requested_by.ok_or("nobody asks")?;
        permitted(grant, requester, &policy.spec)?;
        if world.settings.usable {
            strong_enough(world, grant, &policy.spec)?;
        }
        self.nobody_has_left(world, grant, &policy.spec)?;
        all_are_declared(world, grant)?;
        let reviews = of(world, grant);
        let accounts = accounts(&reviews, requester, &approval.by);
        if reviews.iter().any(|review| revokes(world, grant, requester, review, &policy.spec)) {
            return Err("it was revoked");
        }
        match approval.how {
            How::Glass => {
                let settled = grant.status().and_then(|status| status.break_glass.as_ref()?.reviewed_by.as_ref());
                let first = reviews.iter().find(|review| {
                    self.meanings.get(&review.spec.digest) == Some(&approval.meaning)
                        && review.spec.reviewer.as_ref().is_some_and(|who| {
                            !rules_of(world, grant, requester, who, &accounts, &policy.spec).is_empty()
                        })
                });
                if settled.is_none() && first.is_some_and(|review| review.spec.decision != Decision::Approve) {
                    return Err("the review refuses");
                }
                Ok(())
            }
            How::Policy if policy.spec.auto_approve.is_empty() => Err("the policy approves no more by itself"),
            How::Policy => Ok(()),
            How::People => enough(world, grant, requester, &approval.by, &accounts, &policy.spec),
        }
    }

    /// Whether nobody has left who asked for a grant, or gets it, as a member, unless it is kept then.
    fn nobody_has_left(&self, world: &World, grant: &Grant, policy: &AccessPolicySpec) -> Result<(), &'static str> {
        let were = self.members.get(grant.metadata().uid.as_ref().unwrap());
        let are_still = were.is_none_or(|were| were.is_subset(&members_of(world, grant)));
        if keeps(policy) || are_still { Ok(()) } else { Err("a member has left") }
    }

    /// Somebody else than the operator has written that a grant which had ended is being revoked.
    pub fn is_to_end_again(&mut self, uid: &str) {
        self.to_end_again.insert(uid.to_owned());
    }

    /// The operator has had a whole turn at a grant that was over before it.
    pub fn saw_end(&mut self, uid: &str) {
        self.to_end_again.remove(uid);
        if self.approvals.contains_key(uid) || self.pretended.contains_key(uid) {
            self.seen.insert(uid.to_owned());
        }
    }

    /// What was approved before does not count, and what the operator has done about it is undone.
    pub fn forget_turns(&mut self) {
        self.seen.clear();
        self.approvals.values_mut().for_each(|approval| approval.is_undone = true);
        self.pretended.clear();
    }

    /// What may happen for a grant.
    pub fn before(&self, world: &World, catalogue: Catalogue, key: &str, action: &Action) {
        let opens = match action {
            Action::Apply(child) => is_open(child),
            Action::CopyCredential { .. } => true,
            _ => false,
        };
        if !opens {
            return;
        }
        if let Some(why) = self.why_over(world, catalogue, key) {
            panic!("{key} opens something, and {why}: {action:?}");
        }
        let grant = &world.grants[key];
        assert!(!self.seen.contains(grant.metadata().uid.as_ref().unwrap()), "{key} has ended, and opens again");
        assert!(world.can_read(key), "{key} opens, and cannot be read");
        assert!(world.home == Home::Enforced && world.settings.usable, "{key} opens where nothing may be opened");
        assert!(grant.terms().start_time.is_none_or(|start| start.0 <= world.now), "{key} opens too early");
    }

    /// What stands was agreed to, and has not ended; or the operator has had no turn since it ended.
    pub fn judge(&self, world: &World, catalogue: Catalogue) {
        for (key, child) in world.objects.0.iter().filter(|(key, _)| key.kind != ChildKind::GrantMount) {
            let owner = &child.metadata().owner_references.as_ref().expect("it is somebody's")[0].uid;
            let Some((grant, _)) = world.grants.iter().find(|(_, grant)| grant.metadata().uid.as_ref() == Some(owner))
            else {
                panic!("{key} is nobody's");
            };
            assert_eq!(
                world.objects.seen(key).and_then(|seen| seen.grant),
                Some(reference(grant)),
                "{key} is another's"
            );
            self.stands(world, catalogue, grant).unwrap_or_else(|why| panic!("{key} stands for {grant}, and {why}"));
        }
    }

    fn stands(&self, world: &World, catalogue: Catalogue, key: &str) -> Result<(), &'static str> {
        let uid = world.grants[key].metadata().uid.as_ref().unwrap();
        if !self.approvals.contains_key(uid) && !self.pretended.contains_key(uid) {
            return Err("never approved");
        }
        if !self.seen.contains(uid) {
            return Ok(());
        }
        Err(self.why_over(world, catalogue, key).unwrap_or("the operator has seen it end"))
    }

    /// Whether a credential is there without anybody who may have it.
    fn is_leaked(&self, world: &World, may: impl Fn(&str) -> bool) -> bool {
        world.has_mount("weights.reader.trainer")
            && !["a", "b"].iter().any(|key| world.grants.contains_key(*key) && may(key))
    }

    /// The operator has looked for mounts that are nobody's.
    pub fn swept(&self, world: &World, catalogue: Catalogue) {
        let claims = |key: &str| self.to_end_again.contains(world.grants[key].metadata().uid.as_ref().unwrap());
        let speaks = |key: &str| claims(key) || self.stands(world, catalogue, key).is_ok();
        assert!(!self.is_leaked(world, speaks), "a credential is nobody's");
    }

    /// Nothing is left to do.
    pub fn at_rest(&self, world: &World, catalogue: Catalogue) {
        let may = |key: &str| {
            let begun = world.grants[key].terms().start_time.is_none_or(|start| start.0 <= world.now);
            let over = self.why_over(world, catalogue, key);
            over.or((!begun).then_some("its time has not come")).or((!world.can_read(key)).then_some("cannot be read"))
        };
        for key in world.grants.keys() {
            if let Some(why) = may(key) {
                assert_eq!(world.children_of(key), 0, "at rest, {key} stands, and {why}");
            }
        }
        assert!(!self.is_leaked(world, |key| may(key).is_none()), "at rest, a credential is nobody's");
    }
}
