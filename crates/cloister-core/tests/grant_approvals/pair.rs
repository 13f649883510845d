//! Operators of which one acts, by what it has heard, and others were stopped in the midst of a plan: what they had asked
//! for may arrive at any time, and none of them decides anything anew.

use super::{
    events::{self, KEYS},
    grants::{World, secret_of},
    model::{Catalogue, Model},
    oracle::Ruling,
    steps::Refusals,
    two::{Said, Turn, opens, stands},
};
use cloister_api::GrantPhase;
use cloister_core::grant::{Grant, has_broken_glass, mount_key, mount_of_secret};
use fastrand::Rng;
use jiff::SignedDuration;
use std::collections::{BTreeMap, BTreeSet};

/// How many looks at everything it takes at most until nothing is open that must not be.
const LOOKS: usize = 5;

#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// Something that the operators have no part in.
    Others(events::Event),
    /// The operator that acts works on a grant. Cut off after so many requests, it is started again.
    Work(&'static str, usize),
    Sweep,
    /// It is stopped so many requests into its work on a grant, and another takes over.
    Stop(&'static str, usize),
    /// Requests of one that was stopped are answered: of which, how many, and in which order.
    Late(usize, usize, usize),
    /// The operator that acts hears nothing any more but the answers to what it asks for.
    Silence,
    /// It hears of something.
    Hear(Part),
    /// Whatever is open ends, and the operator that acts hears of it and works on a grant until it is over.
    End(&'static str),
    /// The API server refuses some requests from now on, or none.
    Refuse(Option<u64>),
}

/// What is watched together.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    Grants,
    Reviews,
    Catalogue,
    Objects,
    All,
}

impl Event {
    pub fn any(rng: &mut Rng) -> Self {
        // Mostly of one grant, whose turns then meet.
        let key = KEYS[[0, 0, 0, 0, 1, 2, 2, 3][rng.usize(..8)]];
        let requests = |rng: &mut Rng| if rng.u32(..6) == 0 { rng.usize(..5) } else { usize::MAX };
        match rng.u32(..100) {
            0..22 => Event::Work(key, requests(rng)),
            22..34 => Event::Stop(key, rng.usize(..6)),
            34..54 => Event::Late(rng.usize(..3), requests(rng).min(1 + rng.usize(..9)), rng.usize(..3)),
            54..57 => Event::Silence,
            57..61 => Event::Hear([Part::Grants, Part::Reviews, Part::Catalogue, Part::Objects][rng.usize(..4)]),
            61..63 => Event::Hear(Part::All),
            63..66 => Event::Sweep,
            66..68 => Event::Refuse(rng.bool().then(|| rng.u64(..))),
            68..71 => Event::End(key),
            71 => Event::Others(events::Event::Pass(rng.i64(100..900))),
            72..75 => Event::Others(events::Event::Delete(key)),
            75..81 => Event::Others(events::Event::ask(rng, key, 3)),
            _ => loop {
                use events::Event as E;
                match E::any(rng) {
                    // Nobody puts etcd back before all operators have ended; who writes past them is judged without them.
                    E::Work(..) | E::Sweep(_) | E::Save | E::Restore | E::Tamper(..) | E::Back(_) | E::Forget => {}
                    other => break Event::Others(other),
                }
            },
        }
    }
}

/// A turn with what it decides.
struct Late {
    turn: Turn,
    /// What it decides, where it is about a request.
    decided: Ruling,
    /// Whether something stood of the grant, as its operator knew.
    stood: bool,
}

pub struct Pair {
    model: Model,
    /// What the operator that acts has heard, where that is not all.
    view: Option<Box<(World, Catalogue)>>,
    late: Vec<Late>,
    /// Which mount owns a copy, by their uids.
    owners: BTreeMap<String, Option<String>>,
    /// The grants by which alice used break-glass and that were opened, and those of them that were ever reviewed, by their uids.
    opened: BTreeSet<String>,
    reviewed: BTreeSet<String>,
}

impl Pair {
    pub fn new(start: &Model) -> Self {
        let mut model = start.clone();
        let mut owners = BTreeMap::new();
        for mount in model.world.mounts() {
            let uid = Some("uid-before".to_owned());
            owners.insert(secret_of(&mount.name), uid.clone());
            model.world.objects.edit(&mount, |metadata| metadata.uid = uid);
        }
        let world = &model.world;
        let open = world.grants.iter().filter(|(key, grant)| has_broken_glass(grant) && world.children_of(key) > 0);
        let opened = open.map(|(_, grant)| uid(grant)).collect();
        Pair { model, view: None, late: Vec::new(), owners, opened, reviewed: BTreeSet::new() }
    }

    pub fn take(&mut self, event: &Event) {
        match *event {
            Event::Others(event) => self.model.others(&event),
            Event::Work(key, requests) => {
                let is_done = self.begin(key).is_none_or(|turn| self.go_on(turn, requests, 0, false).is_none());
                if !is_done {
                    self.view = None;
                }
            }
            Event::Sweep => self.sweep(),
            Event::Stop(key, requests) => {
                let stopped = self.begin(key).and_then(|turn| self.go_on(turn, requests, 0, false));
                if let Some(stopped) = stopped {
                    self.late.push(stopped);
                    self.view = None;
                }
            }
            Event::Late(which, requests, order) => {
                if let Some(which) = which.checked_rem(self.late.len()) {
                    let late = self.late.remove(which);
                    let left = self.go_on(late, requests, order, true);
                    self.late.extend(left);
                }
            }
            Event::Silence => {
                let (world, catalogue) = (&self.model.world, self.model.catalogue);
                self.view.get_or_insert_with(|| Box::new((world.clone(), catalogue)));
            }
            Event::Hear(part) => self.hear(part),
            Event::End(key) => {
                self.view = None;
                self.model.world.now += SignedDuration::from_secs(1000);
                for _ in 0..2 {
                    self.model.world.let_admission_notice();
                    let left = self.begin(key).and_then(|turn| self.go_on(turn, usize::MAX, 0, false));
                    assert!(left.is_none());
                    self.end_of_event();
                }
            }
            Event::Refuse(seed) => self.model.world.refusals = Refusals(seed),
        }
        self.end_of_event();
    }

    fn end_of_event(&mut self) {
        self.model.world.environment();
        collect_copies(&mut self.model.world, &self.owners);
        let settled = self.model.world.grants.values().filter(|grant| {
            grant
                .status()
                .and_then(|status| status.break_glass.as_ref())
                .is_some_and(|glass| glass.reviewed_by.is_some())
        });
        self.reviewed.extend(settled.map(uid));
    }

    fn hear(&mut self, part: Part) {
        let Some(view) = &mut self.view else { return };
        let (known, catalogue) = &mut **view;
        let there = &self.model.world;
        match part {
            Part::Grants => {
                known.grants.clone_from(&there.grants);
                known.undecodable.clone_from(&there.undecodable);
            }
            Part::Reviews => known.reviews.clone_from(&there.reviews),
            Part::Objects => known.objects.clone_from(&there.objects),
            Part::Catalogue => {
                *catalogue = self.model.catalogue;
                *known = World {
                    grants: std::mem::take(&mut known.grants),
                    undecodable: std::mem::take(&mut known.undecodable),
                    reviews: std::mem::take(&mut known.reviews),
                    objects: std::mem::take(&mut known.objects),
                    ..there.clone()
                };
            }
            Part::All => self.view = None,
        }
    }

    /// What the operator that acts knows.
    fn seen(&mut self) -> (&World, Catalogue) {
        let now = self.model.world.now;
        match &mut self.view {
            None => (&self.model.world, self.model.catalogue),
            Some(view) => {
                view.0.now = now;
                (&view.0, view.1)
            }
        }
    }

    /// Makes a plan for a grant.
    fn begin(&mut self, key: &str) -> Option<Late> {
        let (view, catalogue) = self.seen();
        let decides = view.grants.get(key)?.phase() == GrantPhase::Pending && view.can_read(key);
        let plan = view.plan(key);
        if plan.is_empty() && plan.does_nothing() {
            return None;
        }
        let status = plan.status.clone();
        let (turn, stood) = (Turn::new(view, key, plan), stands(view, key));
        let Pair { model, view, .. } = self;
        let view = view.as_ref().map_or(&model.world, |view| &view.0);
        let decided = status.filter(|_| decides).map(|status| model.oracle.decided(view, catalogue, key, &status));
        Some(Late { turn, decided: decided.unwrap_or_default(), stood })
    }

    /// Lets so many requests be answered, and gives back what is left to do.
    fn go_on(&mut self, late: Late, requests: usize, order: usize, is_late: bool) -> Option<Late> {
        let Late { mut turn, decided, stood } = late;
        let Pair { model, opened, reviewed, view, owners, .. } = self;
        let hears = view.is_none() && !is_late;
        let Model { world, oracle, catalogue, .. } = model;
        let said = turn.go_on(world, requests, order, &mut |world, turn, action| {
            if !opens(action) {
                return;
            }
            let Some(read) = &turn.read else { panic!("a sweep opens {action:?}") };
            assert!(oracle.is_approved(&uid(read)), "{} opens what nobody has approved: {action:?}", turn.key);
            if hears {
                oracle.before(world, *catalogue, &turn.key, action);
            }
            if has_broken_glass(read) && !opened.contains(&uid(read)) {
                // One that was removed by force owes nothing any more.
                let mut there = world.grants.values().map(uid);
                let twice = there.find(|other| opened.contains(other) && !reviewed.contains(other));
                assert!(twice.is_none(), "{} uses break-glass again after {twice:?}", turn.key);
                opened.insert(uid(read));
            }
        });
        owners.extend(turn.copied.take());
        if let Some(view) = view.as_mut().filter(|_| !is_late) {
            note(&mut view.0, world, &turn);
        }
        match said {
            None => return Some(Late { turn, decided, stood }),
            Some(Said::Written(before)) => {
                let status = world.grants[&turn.key].status().unwrap().clone();
                let ended = |phase: GrantPhase, at: &Option<_>| phase.has_ended().then(|| (phase, at.clone()));
                let was = ended(before.phase, &before.ended_at);
                let is_another = was.is_some() && was != ended(status.phase, &status.ended_at);
                assert!(
                    !is_another || stood || stands_yet(world, &turn),
                    "{}: an end is an end: {before:#?} {status:#?}",
                    turn.key
                );
                let uids: BTreeSet<&str> = status.reviews.iter().map(|review| &*review.uid).collect();
                assert_eq!(uids.len(), status.reviews.len(), "{}: a review counts twice", turn.key);
                if before.phase == GrantPhase::Pending {
                    oracle.was_decided(&uid(&world.grants[&turn.key]), status.phase, decided);
                }
            }
            Some(Said::Nothing | Said::Refused) => {}
        }
        None
    }

    fn sweep(&mut self) {
        for mount in self.seen().0.mounts() {
            let view = self.seen().0;
            let Some(plan) = view.unclaimed(&mount) else { continue };
            let turn = Turn::new(view, "", plan);
            self.go_on(Late { turn, decided: Ruling::default(), stood: true }, usize::MAX, 0, false);
        }
    }

    /// The operator that acts hears all and works on everything until there is nothing left to do.
    pub fn settle(&mut self) {
        (self.view, self.late) = (None, Vec::new());
        self.model.world.refusals = Refusals::default();
        for _ in 0..LOOKS {
            let mounts = self.model.world.mounts();
            self.sweep();
            for key in KEYS {
                let left = self.begin(key).and_then(|turn| self.go_on(turn, usize::MAX, 0, false));
                assert!(left.is_none());
                self.end_of_event();
            }
            let world = &mut self.model.world;
            let waits = world.let_admission_notice();
            if !waits && mounts == world.mounts() && world.grants.keys().all(|key| world.plan(key).is_empty()) {
                return self.model.oracle.at_rest(&self.model.world, self.model.catalogue);
            }
        }
        panic!("does not come to rest: {:#?}", self.model.world);
    }
}

fn uid(grant: &Grant) -> String {
    grant.metadata().uid.clone().unwrap()
}

fn stands_yet(world: &World, turn: &Turn) -> bool {
    world.grants.contains_key(&turn.key) && stands(world, &turn.key)
}

/// The answers to what an operator asks for tell it of what they are about: `Writer::note` and `Writer::forget`.
fn note(view: &mut World, there: &World, turn: &Turn) {
    match there.grants.get(&turn.key) {
        Some(grant) => drop(view.grants.insert(turn.key.clone(), grant.clone())),
        None => drop(view.grants.remove(&turn.key)),
    }
    for key in &turn.answers {
        match there.objects.0.get(key) {
            Some(child) => {
                let deleted = child.metadata().deletion_timestamp.clone();
                view.objects.0.insert(key.clone(), child.clone());
                view.objects.edit(key, |metadata| metadata.deletion_timestamp = deleted);
            }
            None => drop(view.objects.0.remove(key)),
        }
    }
}

/// Garbage collection of copies whose mount is gone.
fn collect_copies(world: &mut World, owners: &BTreeMap<String, Option<String>>) {
    let World { secrets, objects, .. } = world;
    secrets.retain(|secret| {
        let mount = mount_of_secret(secret).and_then(|mount| objects.0.get(&mount_key(mount)));
        let owner = owners.get(secret).cloned().flatten();
        mount.is_some_and(|mount| mount.metadata().uid == owner)
    });
}
