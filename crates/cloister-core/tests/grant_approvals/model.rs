//! A cluster to which things happen, and what the oracle must know of them.

use super::{
    events::Event,
    grants::{Shelf, Spec, World},
    oracle::Oracle,
    stock::{cluster_roles, members, policy, request, review, storage},
    tamper::tamper,
};
use cloister_api::*;
use cloister_core::grant::Grant;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::sync::{Arc, LazyLock};

/// How many accounts there are that review.
pub const PEOPLE: usize = 11;

/// Accounts: some are one person's, some may not decide.
pub static ACCOUNTS: LazyLock<[Identity; PEOPLE]> = LazyLock::new(|| {
    let account = |username: &str, uid: &str, person_key: &str, groups: &[&str]| Identity {
        username: username.into(),
        uid: uid.into(),
        person_key: person_key.into(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..Identity::default()
    };
    [
        account("sam", "", "", &["security"]),
        account("olga", "", "", &["owners"]),
        account("both", "", "", &["security", "owners"]),
        account("otto", "u-otto", "", &["owners"]),
        // Otto's, as the next account shows.
        account("omar", "", "p-otto", &["owners", "security"]),
        account("otto-old", "u-otto", "p-otto", &[]),
        account("alice", "u-alice", "", &["researchers", "security"]),
        account("alice-admin", "u-alice", "", &["security", "owners"]),
        account("rob", "", "", &["security", "owners"]),
        account("lea", "", "", &[]),
        account("system:serviceaccount:interp:bot", "", "", &["security", "owners"]),
    ]
});

/// What the catalogue says now, in the words of [`Event`]: what a decision rests on is the same where these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Catalogue {
    pub policy: &'static str,
    /// How many times the policy was made again.
    pub again: u32,
    pub storage: &'static str,
    pub role: &'static str,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub world: World,
    pub catalogue: Catalogue,
    pub oracle: Oracle,
    saved: Option<Arc<(World, Catalogue)>>,
    /// The latest time that there was.
    latest: Timestamp,
    count: u32,
}

impl Model {
    pub fn new() -> Self {
        let (Shelf::Read(storage), Shelf::Read(policy)) = (storage("full"), policy("people", 0)) else {
            unreachable!()
        };
        let mut world = World::new(storage.into_inner(), policy.into_inner());
        world.members = members("alice");
        cluster_roles(&mut world, "debug");
        let catalogue = Catalogue { policy: "people", again: 0, storage: "full", role: "debug" };
        let latest = world.now;
        Model { world, catalogue, oracle: Oracle::default(), saved: None, latest, count: 0 }
    }

    /// Something happens, and is judged.
    pub fn take(&mut self, event: &Event) {
        self.count += 1;
        match *event {
            Event::Work(key, budget) => self.work(key, budget),
            Event::Sweep(budget) => self.sweep(budget),
            Event::Tamper(key, what) => self.tamper(key, what),
            _ => self.happen(event),
        }
        self.latest = self.latest.max(self.world.now);
        self.world.environment();
        self.oracle.judge(&self.world, self.catalogue);
    }

    /// Something happens that no operator has a part in.
    pub fn others(&mut self, event: &Event) {
        self.count += 1;
        self.happen(event);
        self.latest = self.latest.max(self.world.now);
    }

    fn happen(&mut self, event: &Event) {
        let world = &mut self.world;
        match *event {
            Event::Ask { key, who, length, start } => {
                let mut spec = request(key, who, length);
                if start != 0 && who != "glass" {
                    let start = Time(world.now + SignedDuration::from_secs(start * 150));
                    match &mut spec {
                        Spec::Storage(spec) => spec.start_time = Some(start),
                        Spec::Egress(spec) => spec.start_time = Some(start),
                        Spec::Role(spec) => spec.start_time = Some(start),
                    }
                }
                world.ask(key, spec, format!("uid-{}", self.count));
            }
            Event::Review { key, who, decision, of } => review(world, key, who, decision, of, self.count),
            Event::Forget => drop((!world.reviews.is_empty()).then(|| world.reviews.remove(0))),
            Event::Policy(name) => {
                self.catalogue.policy = name;
                world.policy = policy(name, self.catalogue.again);
            }
            Event::PolicyAgain => {
                self.catalogue.again += 1;
                world.policy = policy(self.catalogue.policy, self.catalogue.again);
            }
            Event::Storage(name) => {
                self.catalogue.storage = name;
                world.storage = storage(name);
            }
            Event::ClusterRole(name) => {
                self.catalogue.role = name;
                cluster_roles(world, name);
            }
            Event::Members(name) => world.members = members(name),
            Event::Account(is_declared) => world.declare("trainer", is_declared),
            Event::Minimum(least) => world.settings.spec.minimum_approvals.low = least,
            Event::Home(home) => world.home = home,
            Event::Usable(usable) => world.settings.usable = usable,
            Event::Readable(key, true) => world.undecodable.retain(|unread| unread != key),
            Event::Readable(key, false) => world.undecodable.extend([key.to_owned()]),
            Event::Credential(version) => world.credential = version,
            Event::Pass(seconds) => world.now += SignedDuration::from_secs(seconds),
            Event::Back(seconds) => world.now -= SignedDuration::from_secs(seconds),
            Event::Delete(key) => {
                let now = world.now;
                if let Some(grant) = world.grants.get_mut(key) {
                    grant.metadata_mut().deletion_timestamp.get_or_insert(Time(now));
                }
            }
            Event::Force(key) => drop(world.grants.remove(key)),
            Event::Save => self.saved = Some(Arc::new((world.clone(), self.catalogue))),
            Event::Restore => {
                let Some(saved) = &self.saved else { return };
                // Who puts it back knows the time, whatever the operator's clock has been.
                let now = self.latest + SignedDuration::from_secs(1);
                (self.world, self.catalogue) = (**saved).clone();
                self.world.now = now;
                self.world.settings.spec.invalidate_grants_before = Some(Time(now));
                self.oracle.forget_turns();
            }
            Event::Work(..) | Event::Sweep(_) | Event::Tamper(..) => {}
        }
    }

    /// Somebody writes something else into a status.
    fn tamper(&mut self, key: &str, what: usize) {
        let Some(grant) = self.world.grants.get(key) else { return };
        let uid = grant.metadata().uid.clone().unwrap();
        let of_it = self.world.reviews.iter().filter(|review| review.spec.request_ref.uid == uid);
        // Whoever refuses in the moment before the operator looks at what was forged is not asked about here.
        let refused = of_it.clone().any(|review| review.spec.decision != Decision::Approve);
        if grant.phase() == GrantPhase::Pending && (grant.terms().break_glass || refused) {
            return;
        }
        let known = of_it.filter_map(|review| {
            let uid = review.metadata.uid.clone()?;
            let reviewer = review.spec.reviewer.clone()?;
            Some(RecordedReview { name: uid.clone(), uid, decision: review.spec.decision, reviewer })
        });
        let known: Vec<RecordedReview> = known.collect();
        let was = grant.phase();
        tamper(&mut self.world, key, what, &known);
        if was.has_ended() && self.world.grants[key].phase() == GrantPhase::Revoking {
            self.oracle.is_to_end_again(&uid);
        }
        if was == GrantPhase::Pending
            && matches!(self.world.grants[key].phase(), GrantPhase::Approved | GrantPhase::Active)
        {
            self.oracle.pretended(&self.world, self.catalogue, key);
        }
    }

    /// The operator works on a grant.
    fn work(&mut self, key: &str, budget: usize) {
        let Some(grant) = self.world.grants.get(key) else { return };
        let (uid, before) = (grant.metadata().uid.clone().unwrap(), grant.phase());
        let is_over = self.oracle.why_over(&self.world, self.catalogue, key);
        let plan = self.world.plan(key);
        let (oracle, catalogue) = (&self.oracle, self.catalogue);
        let done = self.world.carry_out(key, &plan, budget, &mut |world, key, action| {
            oracle.before(world, catalogue, key, action);
            oracle.judge(world, catalogue);
        });
        // One that cannot be read is closed, and open again when it can be.
        assert!(
            !done || self.world.can_read(key) || self.world.children_of(key) == 0,
            "{key} cannot be read, and stands"
        );
        if done && is_over.is_some() && self.world.can_read(key) {
            if plan.if_failed.is_some() {
                // It is closed, and its end is written in a moment. A clock that goes back before gives it its time.
                assert_eq!(self.world.children_of(key), 0, "{key} has ended, and stands");
            } else {
                self.oracle.saw_end(&uid);
            }
        }
        let Some(after) = self.world.grants.get(key).and_then(Grant::status) else { return };
        if done && before == GrantPhase::Pending {
            self.oracle.wrote(&self.world, self.catalogue, key, &uid, after.phase);
        }
    }

    fn sweep(&mut self, budget: usize) {
        self.world.left().iter().for_each(|mount| self.world.sweep(mount, budget));
        if budget == usize::MAX {
            self.oracle.swept(&self.world, self.catalogue);
        }
    }

    /// Works on everything until there is nothing left to do.
    pub fn settle(&mut self) {
        for _ in 0..24 {
            let mounts = self.world.mounts();
            let keys: Vec<String> = self.world.grants.keys().cloned().collect();
            self.sweep(usize::MAX);
            keys.iter().for_each(|key| {
                self.work(key, usize::MAX);
                self.world.environment();
                self.oracle.judge(&self.world, self.catalogue);
            });
            self.world.let_admission_notice();
            if mounts == self.world.mounts() && self.world.grants.keys().all(|key| self.world.plan(key).is_empty()) {
                return self.oracle.at_rest(&self.world, self.catalogue);
            }
        }
        panic!("does not come to rest: {:#?}", self.world);
    }
}
