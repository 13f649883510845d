//! Laws of `grant::plan`: what happens to grants in an arbitrary order, with plans that are cut off anywhere.

mod common {
    pub mod events;
    pub mod grants;
    pub mod objects;
    pub mod steps;
    pub mod sweep;
    pub mod tamper;
}

use cloister_api::{AccessPolicy, GrantPhase, GrantStatus, OnExpiry, condition::reason, labels};
use cloister_core::{
    grant::{Grant, Home, SETTLING, has_begun, is_open, last_call, may_hold},
    model::{
        child::{Child, ChildKey, ChildKind, ObservedChild},
        ownership::is_made_for,
        plan::{Action, Plan},
    },
};
use common::{
    events::{Event, NAMES, PLANTED, event, happen, hold, policy, storage},
    grants::{Shelf, World, mount_of, reference, secret_of},
    steps::Refusals,
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use std::collections::BTreeSet;

impl World {
    /// The grants that can be read and share a mount, but for one.
    fn others_of<'a>(&'a self, but: &'a str, mount: &'a str) -> impl Iterator<Item = &'a Grant> {
        let grants = self.grants.iter().filter(move |(key, _)| *key != but && self.can_read(key));
        grants.map(|(_, grant)| grant).filter(move |grant| mount_of(grant).is_some_and(|name| name == mount))
    }

    /// Whether another grant counts on a mount.
    fn is_shared(&self, but: &str, mount: &str) -> bool {
        self.others_of(but, mount).any(|grant| is_open(grant, self.now))
    }

    /// The mounts that stand, those whose credentials pods hold, as far as the operator knows, and those whose copies are not
    /// known to be destroyed.
    fn copies(&self) -> BTreeSet<ChildKey> {
        let pods = self.stale.as_ref().unwrap_or(&self.pods).values();
        let held = pods.flat_map(|pod| &pod.secrets);
        let held = held.filter_map(|secret| secret.strip_prefix(labels::GRANT_SECRET_PREFIX));
        let held = held.map(|mount| ChildKey::new(ChildKind::GrantMount, mount));
        self.left().into_iter().chain(held).collect()
    }
}

/// What holds before every action.
fn in_order(world: &World, name: &str, action: &Action) {
    let Some(grant) = world.grants.get(name) else { return };
    let mount = world.mount_of(name).unwrap_or_default();
    let held = grant.metadata().finalizers.iter().flatten().any(|held| held == labels::GRANT_FINALIZER);
    match action {
        Action::Unmount { name: unmounted, .. } => {
            assert_eq!(**unmounted, *mount, "takes the mount of others");
            let stays = world.others_of(name, &mount).any(|other| {
                is_open(other, world.now) && other.status().and_then(last_call).is_some_and(|last| last > world.now)
            });
            // What somebody else has changed is taken away, and comes again.
            let key = ChildKey::new(ChildKind::GrantMount, unmounted);
            let is_planted = world.objects.0.get(&key).is_some_and(is_planted);
            assert!(!stays || is_planted, "takes the mount of another grant");
        }
        Action::Apply(_) | Action::CopyCredential { .. } => {
            let status = grant.status().expect("opens what nobody has decided");
            assert!(world.can_read(name) && grant.metadata().deletion_timestamp.is_none());
            assert!(
                matches!(status.phase, GrantPhase::Approved | GrantPhase::Active),
                "opens while {:?}",
                status.phase
            );
            assert!(status.expires_at.as_ref().is_some_and(|end| end.0 > world.now), "opens without an end to come");
            assert!(has_begun(grant, world.now), "opens too early");
            assert!(held, "opens without its finalizer");
            assert!(world.home == Home::Enforced && world.settings.usable, "opens where nothing may be opened");
            let is_new = |child: &Child| {
                child.kind() != ChildKind::ServiceAccount && !world.objects.0.contains_key(&child.key())
            };
            let opens = match action {
                Action::Apply(child) => is_new(child),
                _ => true,
            };
            assert!(!opens || !world.settings.held, "opens while the clocks disagree");
            if let Action::CopyCredential { to, .. } = action {
                assert_eq!(status.secret_name.as_ref(), Some(to), "the copy is not written down");
            }
            if let Action::Apply(child) = action
                && let Child::GrantMount(mount) = &**child
            {
                let version = child.observe().version.unwrap_or_default();
                assert!(
                    version.is_empty() || world.secrets.contains(&mount.spec.secret_name),
                    "mounts what is not there"
                );
            }
        }
        Action::Delete(key) if key.kind == ChildKind::GrantMount => {
            assert!(!world.is_shared(name, &mount), "takes the mount of another grant");
            assert!(!world.secrets.contains(&secret_of(&mount)), "nothing would remember the copy");
        }
        Action::Delete(key) => {
            assert_eq!(
                world.objects.0[key].observe().grant.as_ref(),
                Some(&reference(name)),
                "takes what is not its own"
            );
        }
        Action::DestroyCredential { .. } | Action::DeletePod { .. } => {
            assert!(!world.is_shared(name, &mount), "takes the credential of another grant");
            let is_mounted =
                |key: &ChildKey, child: &ObservedChild| is_mount(key, &mount) && child.version.as_deref() != Some("");
            // What is refused holds nothing up.
            let refused = world.refusals != Refusals::default();
            let is_left = |(key, child): (&ChildKey, ObservedChild)| is_mounted(key, &child) && !child.terminating;
            let children = world.objects.0.iter().map(|(key, child)| (key, child.observe()));
            assert!(refused || !children.into_iter().any(is_left), "what mounts it goes first");
            if matches!(action, Action::DeletePod { .. }) {
                // One that has left the credential to another does not answer for it.
                let answers = grant.status().is_some_and(|status| status.secret_name.is_some());
                let left = answers && world.secrets.contains(&secret_of(&mount));
                assert!(refused || !left, "the credential goes before its pods");
                let Action::DeletePod { name: pod, .. } = action else { unreachable!() };
                let spared = on_expiry(grant) == OnExpiry::Empty && world.can_read(name);
                assert!(!spared || world.pods.get(pod).is_none_or(|pod| pod.lasting), "a pod that was to go on");
            }
        }
        Action::DropFinalizer => {
            assert!(grant.metadata().deletion_timestamp.is_some());
            assert_eq!(world.children_of(name), 0, "something of it is left");
            // One that has left the credential to another does not answer for it.
            if grant.status().is_some_and(|status| status.activated_at.is_some() && status.secret_name.is_some()) {
                assert!(is_clear(world, name, grant), "its credential is left");
            }
        }
        _ => {}
    }
}

fn on_expiry(grant: &Grant) -> OnExpiry {
    match grant {
        Grant::Storage(grant) => grant.spec.on_expiry,
        _ => OnExpiry::Empty,
    }
}

/// Whether it is a mount that somebody else has put elsewhere.
fn is_planted(child: &Child) -> bool {
    matches!(child, Child::GrantMount(mount) if mount.spec.mount_path == PLANTED)
}

fn is_mount(key: &ChildKey, mount: &str) -> bool {
    key.kind == ChildKind::GrantMount && *key.name == *mount
}

/// Whether nothing is left of the mount of a grant, unless another counts on it.
fn is_clear(world: &World, name: &str, grant: &Grant) -> bool {
    let begun = |grant: &Grant| has_begun(grant, world.now);
    let holds = |grant: &Grant| grant.status().is_some_and(may_hold);
    let others = world.grants.iter().filter(|(other, grant)| *other != name && holds(grant) && begun(grant));
    mount_of(grant).is_none_or(|mount| {
        !world.has_mount(&mount) || others.clone().any(|(_, other)| mount_of(other).as_ref() == Some(&mount))
    })
}

/// What holds for what is written of a grant.
fn well_said(world: &World, name: &str, before: &GrantStatus, stood: bool, plan: &Plan<GrantStatus>, done: bool) {
    let grant = &world.grants[name];
    let after = grant.status().unwrap_or(before);
    if before.expires_at.is_some() && before.phase != GrantPhase::Pending {
        assert_eq!(before.expires_at, after.expires_at, "an end that was written down is not computed again");
    }
    if before.phase.has_ended() && (before.phase, &before.ended_at) != (after.phase, &after.ended_at) {
        assert!(stood, "an end is an end: {before:?} {after:?}");
    }
    if !world.can_read(name) || !done {
        return;
    }
    match after.phase {
        GrantPhase::Approved | GrantPhase::Active => {
            let end = after.expires_at.as_ref().expect("an end").0;
            // At its end admission takes a moment to notice, if it was not told before.
            let end = end.max(world.now + SETTLING);
            assert!(plan.next.is_some_and(|next| next <= end), "nobody looks when it ends");
        }
        GrantPhase::Pending if grant.metadata().deletion_timestamp.is_none() => assert!(plan.next.is_some()),
        GrantPhase::Revoking => {
            assert!(after.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "False"));
            assert!(plan.next.is_some(), "nobody looks whether it is over");
        }
        GrantPhase::Expired | GrantPhase::Revoked if !before.phase.has_ended() => {
            assert_eq!(world.children_of(name), 0, "it is said to be over, and something of it stands");
            assert!(is_clear(world, name, grant), "it is said to be over, and its credential is there");
            let mount = mount_of(grant).unwrap_or_default();
            // Whatever the operator knew of them.
            let left = world.true_holders(&mount).iter().filter(|pod| pod.must_go(on_expiry(grant))).count();
            assert!(left == 0 || world.is_shared(name, &mount), "it is said to be over, and {left} pods hold it");
        }
        _ => {}
    }
    if before.phase == GrantPhase::Pending && after.phase == GrantPhase::Approved {
        let decides = |policy: &AccessPolicy| !policy.spec.auto_approve.is_empty();
        assert!(matches!(&world.policy, Shelf::Read(policy) if decides(policy)), "nobody has approved it");
        let requester = grant.terms().requested_by.expect("somebody has asked");
        assert!(!requester.username.starts_with("system:serviceaccount:"), "no ServiceAccount is approved by itself");
        assert!(world.home == Home::Enforced && world.settings.usable);
    }
}

/// The operator works on a grant. A plan that is carried out whole leaves nothing to do, or asks to be made again.
fn work(world: &mut World, name: &str, budget: usize) {
    let Some(grant) = world.grants.get(name) else { return };
    let before = grant.status().cloned().unwrap_or_default();
    let stood = before.approved_at.is_some()
        && (world.children_of(name) > 0
            || mount_of(grant).is_some_and(|mount| world.mounts().iter().any(|key| *key.name == *mount)));
    let plan = world.plan(name);
    let known = world.stale.clone();
    let done = world.carry_out(name, &plan, budget, &mut in_order);
    // A look that finds what no watch has told lets it be decided anew.
    let seen = world.stale != known;
    well_said(world, name, &before, stood, &plan, done);
    let rest = world.plan(name);
    let asks = plan.next.is_some_and(|next| next <= world.now);
    let pods = plan.actions().any(|action| matches!(action, Action::DeletePod { .. }));
    // Since when one is being revoked that never was Active, or whose status others have written, is not known, so that it
    // may be called unconfirmed early.
    let unknown = |said: &GrantStatus| said.activated_at.is_none() || said.reason == reason::RECORD_NOT_BORNE_OUT;
    let early = rest.does_nothing() && plan.status.as_ref().is_some_and(unknown);
    let held = world.objects.observe().values().any(|child| child.terminating);
    // What is over in a moment is not said before: it is done once more when it is looked at meanwhile.
    let soon = plan.if_failed.is_some() && rest.if_failed.is_some();
    let rests = rest.is_empty() || asks || pods || seen || early || held || soon;
    assert!(!done || rests, "{name}: {plan:#?} leaves {rest:#?}");
    world.environment();
}

/// Works on everything until there is nothing left to do.
fn settle(world: &mut World) {
    for _ in 0..24 {
        let copies = world.copies();
        // A look that finds a pod which no watch told of wakes whoever looks after its copy.
        let pods = (world.stale.clone(), world.pods.clone());
        copies.iter().for_each(|mount| world.sweep(mount, usize::MAX));
        NAMES.iter().for_each(|name| work(world, name, usize::MAX));
        let quiet = world.grants.keys().all(|name| world.plan(name).is_empty());
        // What waits for admission is not at rest, though there is nothing to do before.
        let waits = world.let_admission_notice();
        if quiet && !waits && copies == world.copies() && (&pods.0, &pods.1) == (&world.stale, &world.pods) {
            return;
        }
    }
    panic!("does not come to rest: {world:#?}");
}

/// Whether what a grant opens follows from what people have written. Nobody reviews here, so it is the policy alone.
fn follows(world: &World, grant: &Grant) -> bool {
    let (Shelf::Read(policy), Some(status)) = (&world.policy, grant.status()) else { return false };
    let asked = grant.terms();
    let length = SignedDuration::try_from(std::time::Duration::from(asked.requested_duration.unwrap())).unwrap();
    let (Some(approved), Some(end)) = (&status.approved_at, &status.expires_at) else { return false };
    let begin = asked.start_time.unwrap_or(approved).0;
    !policy.spec.auto_approve.is_empty()
        && asked.requested_by.is_some_and(|who| who.username == "alice")
        && status.reviews.is_empty()
        && status.break_glass.is_none()
        && approved.0 <= world.now
        && end.0 <= begin + length
}

/// What stands in a cluster at rest is what may stand.
fn nothing_past_its_end(world: &World) {
    let open = |grant: &Grant| is_open(grant, world.now) && world.home != Home::Closed;
    for (name, grant) in &world.grants {
        let uid = grant.metadata().uid.as_deref().unwrap_or_default();
        let alien = world.objects.observe().into_iter().find(|(_, child)| {
            child.grant.as_ref() == Some(&reference(name)) && !is_made_for(child, &reference(name), uid)
        });
        assert!(alien.is_none(), "{alien:?} stands in the name of {name}, and was not made for it");
        assert!(world.children_of(name) == 0 || open(grant) && world.can_read(name), "{name} has ended, and stands");
        let follows = follows(world, grant);
        assert!(
            world.children_of(name) == 0 || follows,
            "{name} stands, and that does not follow: {:?}",
            grant.status()
        );
    }
    for mount in world.mounts() {
        assert!(world.others_of("", &mount.name).any(open) || !world.has_mount(&mount.name), "{mount} is nobody's");
    }
    for mount in world.secrets.iter().filter_map(|secret| secret.strip_prefix(labels::GRANT_SECRET_PREFIX)) {
        assert!(world.others_of("", mount).any(open), "the copy behind {mount} is nobody's");
    }
    let known = |name: &String| world.stale.as_ref().is_none_or(|stale| stale.contains_key(name));
    for (name, pod) in world.pods.iter().filter(|(name, pod)| !pod.terminating && known(name)) {
        for mount in pod.secrets.iter().filter_map(|secret| secret.strip_prefix(labels::GRANT_SECRET_PREFIX)) {
            let ended = world.last_end(mount).is_none_or(|end| end.on_expiry == OnExpiry::Empty);
            let may = world.is_claimed(mount) || !pod.lasting && ended;
            assert!(may, "{name} holds {mount}, and no open grant speaks for it");
        }
    }
}

fn world() -> World {
    match (storage("full"), policy("auto")) {
        (Shelf::Read(storage), Shelf::Read(policy)) => World::new(storage.into_inner(), policy.into_inner()),
        _ => unreachable!(),
    }
}

fn run(world: &mut World, events: &[Event]) {
    for (count, event) in events.iter().enumerate() {
        happen(world, event, count);
        match event {
            Event::Work(grant, budget) => work(world, NAMES[*grant], *budget),
            Event::Sweep(budget) => {
                let copies = world.copies();
                copies.iter().for_each(|mount| world.sweep(mount, *budget));
            }
            _ => {}
        }
    }
}

/// A history is quickly run, and the odd ones are rare.
fn many() -> ProptestConfig {
    ProptestConfig::with_cases(ProptestConfig::default().cases.saturating_mul(16))
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn whatever_happens_nothing_is_open_but_what_was_decided_and_has_not_ended(
        events in prop::collection::vec(event(), 1..60), later in 0..1200_i64,
    ) {
        let mut world = world();
        run(&mut world, &events);
        hold(&mut world, false);
        settle(&mut world);
        nothing_past_its_end(&world);

        world.now += SignedDuration::from_secs(later);
        world.pods.retain(|_, pod| !pod.terminating);
        settle(&mut world);
        nothing_past_its_end(&world);
    }

    #[test]
    fn clocks_that_disagree_close_nothing_that_would_stand(events in prop::collection::vec(event(), 1..60)) {
        let mut world = world();
        run(&mut world, &events);
        for name in world.grants.keys().cloned().collect::<Vec<_>>() {
            let plans = [false, true].map(|held| {
                world.settings.held = held;
                world.plan(&name)
            });
            let [free, held] = plans;
            prop_assert_eq!(&held.close, &free.close, "{} is closed, or kept, because of the clocks", name);
            let open = held.open.iter().flatten().flat_map(|chain| chain.actions()).chain(held.last.iter().map(|last| &last.action));
            prop_assert!(!open.into_iter().any(Action::opens), "{} is opened all the same", name);
        }
    }

    #[test]
    fn what_ends_is_taken_away_whatever_else_is_refused(
        events in prop::collection::vec(event(), 1..60), refusals in prop::collection::vec(any::<u64>(), 1..4),
    ) {
        let mut world = world();
        run(&mut world, &events);
        hold(&mut world, false);
        for grant in world.grants.values_mut() {
            grant.metadata_mut().deletion_timestamp.get_or_insert(Time(world.now));
        }
        for seed in refusals {
            world.refusals = Refusals(Some(seed));
            // Enough for each of the mounts to be unmounted, noticed by admission and taken away, one after the other.
            for _ in 0..6 {
                world.let_admission_notice();
                NAMES.iter().for_each(|name| work(&mut world, name, usize::MAX));
                // A copy whose mount somebody has deleted is looked for as well.
                world.left().iter().for_each(|mount| world.sweep(mount, usize::MAX));
            }
            let refused = |action: Action| world.refusals.of(&action).is_err();
            for (key, child) in &world.objects.0 {
                let secret = secret_of(&key.name);
                let copy = refused(Action::DestroyCredential { name: secret.clone() });
                let remembers = key.kind == ChildKind::GrantMount && (copy || world.secrets.contains(&secret));
                // One that no grant speaks for tells of the pods, too.
                let remembers = remembers || !world.holders(&key.name).is_empty();
                // Nor does it go before it is put into no new pod, and before a look has confirmed that no pod holds it.
                let unmount = Action::Unmount { name: key.name.clone(), at: world.now };
                let look = |on_expiry| refused(Action::ConfirmPodsGone { secret: secret.clone(), on_expiry });
                let unconfirmed = refused(unmount) || look(OnExpiry::Terminate) || look(OnExpiry::Empty);
                let remembers = remembers || key.kind == ChildKind::GrantMount && unconfirmed;
                prop_assert!(remembers || refused(Action::Delete(key.clone())) || child.observe().terminating, "{key} stands");
            }
            for name in &world.secrets {
                prop_assert!(refused(Action::DestroyCredential { name: name.clone() }), "{name} stands");
            }
        }
        world.refusals = Refusals::default();
        for _ in 0..3 {
            settle(&mut world);
            world.pods.retain(|_, pod| !pod.terminating);
        }
        prop_assert!(world.grants.is_empty() && world.objects.0.is_empty() && world.secrets.is_empty(), "{:#?}", world);
    }

    #[test]
    fn whatever_has_happened_everything_ends_and_nothing_is_left(events in prop::collection::vec(event(), 1..60)) {
        let mut world = world();
        run(&mut world, &events);
        hold(&mut world, false);
        for grant in world.grants.values_mut() {
            grant.metadata_mut().deletion_timestamp.get_or_insert(Time(world.now));
        }
        for _ in 0..3 {
            settle(&mut world);
            world.pods.retain(|_, pod| !pod.terminating);
        }
        prop_assert!(world.grants.is_empty() && world.objects.0.is_empty() && world.secrets.is_empty(), "{:#?}", world);
    }
}
