//! Laws of `namespace::plan`: arbitrary declarations in a simulated cluster, with plans that are cut off anywhere.

mod common {
    pub mod declared;
    pub mod namespaces;
    pub mod objects;
    pub mod others;
    pub mod ownership;
    pub mod spoil;
    pub mod steps;
    pub mod views;
}

use cloister_api::{DeletionPolicy, labels};
use cloister_core::{
    model::{child::ChildKind, plan::Action},
    namespace::ObservedNamespace,
};
use common::{
    declared::world,
    namespaces::{NAME, RENEWED, World, at, is_of_grant, opens},
    objects::Failed,
    others::{drift, foreign, tamper},
    spoil::{shuffled, spoiled},
    steps::Refusals,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::{option, prelude::*};

/// What no plan does, whatever somebody else has done before.
fn orderly(world: &World, action: Option<&Action>) {
    match action {
        Some(Action::Apply(child)) => {
            assert!(!opens(child) || world.deny_stands(), "opens {} before all is denied", child.key());
            assert!(!is_of_grant(&child.key()), "writes what belongs to a grant");
        }
        Some(Action::Delete(key)) => assert!(!is_of_grant(key), "deletes what belongs to a grant"),
        Some(Action::ApplyNamespace(labels)) if labels.contains_key(labels::ENFORCED) => {
            assert!(world.deny_stands() || world.is_enforced(), "admits pods before all is denied");
        }
        _ => {}
    }
}

/// What holds at every step, and wherever a plan is cut off, where nobody else has written.
fn closed_first(world: &World, action: Option<&Action>) {
    orderly(world, action);
    assert!(world.deny_stands() || !world.is_enforced(), "pods are admitted, and nothing denies");
    assert!(!matches!(action, Some(Action::Release(_))), "lets a deny policy go that nobody deleted");
}

/// Cuts plans off after these numbers of actions.
fn crash(world: &mut World, budgets: &[usize]) {
    for (rotation, &budget) in budgets.iter().enumerate() {
        let plan = world.plan();
        world.carry_out(&plan, budget, rotation, &mut closed_first);
    }
}

fn settled(mut world: World) -> World {
    world.settle(&mut closed_first);
    world
}

fn budgets() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..12_usize, 0..4)
}

/// Nothing is open but what belongs to grants, and no pod is admitted.
fn is_closed(world: &World) -> bool {
    let open = world.objects.0.values().any(|child| opens(child) && !is_of_grant(&child.key()));
    world.deny_stands() && !world.is_enforced() && !open
}

/// Each case is a cluster that comes to rest several times.
fn some() -> ProptestConfig {
    ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(2))
}

proptest! {
    #![proptest_config(some())]

    #[test]
    fn every_step_denies_by_default_and_a_crash_leaves_no_trace(mut world in world(), budgets in budgets()) {
        let direct = settled(world.clone());
        crash(&mut world, &budgets);
        prop_assert!(world.settle(&mut closed_first) <= 2);
        prop_assert!(world.is_enforced() && world.deny_stands());
        prop_assert_eq!(world.outcome(), direct.outcome());
    }

    #[test]
    fn every_opening_was_agreed_to(world in world()) {
        let world = settled(world);
        let names = world.names(ChildKind::NetworkPolicy).into_iter().filter(|name| !name.starts_with("cloister-grant."));
        let usual = ["cloister-deny-all", "cloister-dns", "cloister-own-pods"];
        for policy in names.filter(|name| !usual.contains(name)) {
            prop_assert!(world.is_agreed(policy), "{policy}");
        }
    }

    #[test]
    fn what_leaves_the_declaration_leaves_the_cluster(old in world(), new in world(), budget in 0..12_usize) {
        let old = settled(old);
        let mut changed = old.clone().with_declarations_of(&new);
        crash(&mut changed, &[budget]);
        prop_assert_eq!(settled(changed).outcome(), settled(new).outcome());
    }

    #[test]
    fn clocks_that_disagree_open_nothing_and_close_nothing_that_stands(
        old in world(), new in world(), budgets in budgets(),
    ) {
        let skewed = |mut world: World, held| {
            world.settings.held = held;
            world
        };
        let mut settled_before = settled(old);
        settled_before.settings.held = true;
        prop_assert!(settled_before.plan().is_empty(), "{:#?}", settled_before.plan());

        let mut changed = settled_before.with_declarations_of(&new);
        let (free, held) = (skewed(changed.clone(), false).plan(), skewed(changed.clone(), true).plan());
        prop_assert_eq!(held.close, free.close);
        changed.settings.held = true;
        crash(&mut changed, &budgets);
        let stood = changed.objects.observe();
        let opened = |world: &World| world.objects.0.iter().filter(|(key, child)| opens(child) && !stood.contains_key(*key)).count();
        changed = settled(changed);
        prop_assert_eq!(opened(&changed), 0);
        // Afterwards it is as if nothing had been.
        prop_assert_eq!(settled(skewed(changed, false)).outcome(), settled(skewed(new, false)).outcome());
    }

    #[test]
    fn what_leaves_the_declaration_is_closed_whatever_else_is_refused(
        old in world(), new in world(), seeds in prop::collection::vec(any::<u64>(), 1..4), gone in any::<bool>(),
    ) {
        let mut world = settled(old).with_declarations_of(&new);
        if gone {
            world.declared.as_mut().unwrap().metadata.deletion_timestamp = Some(Time(at(0)));
        }
        let check: fn(&World, Option<&Action>) = if gone { orderly } else { closed_first };
        for (rotation, seed) in seeds.into_iter().enumerate() {
            world.refusals = Refusals(Some(seed));
            for _ in 0..2 {
                let plan = world.plan();
                // In a namespace that is being deleted no pod is admitted, and what denies goes after the last.
                world.carry_out(&plan, usize::MAX, rotation, &mut { check });
            }
            let mut wanted = World { refusals: Refusals::default(), ..world.clone() };
            wanted.settle(&mut { check });
            let refused = |action: &Action| world.refusals.of(action);
            for (key, child) in world.objects.0.iter().filter(|(key, child)| opens(child) && !is_of_grant(key)) {
                let delete = refused(&Action::Delete(key.clone()));
                let is_refused = match wanted.objects.0.get(key) {
                    Some(other) if other.fingerprint() == child.fingerprint() => continue,
                    Some(other) => match refused(&Action::Apply(Box::new(other.clone()))) {
                        Ok(()) => false,
                        Err(Failed::ForNow) => true,
                        Err(Failed::ForGood) => delete.is_err(),
                    },
                    None => delete.is_err(),
                };
                prop_assert!(is_refused, "{key} is open as it was");
            }
        }
        world.refusals = Refusals::default();
        world.settle(&mut { check });
        if gone {
            prop_assert!(world.declared.is_none() && (world.namespace.is_none() || is_closed(&world)));
        } else {
            prop_assert_eq!(world.outcome(), settled(new).outcome());
        }
    }

    #[test]
    fn nothing_stands_past_its_end(mut world in world(), late in 0..200_i64) {
        for _ in 0..8 {
            let now = world.now;
            let without_ended = world.allowlists.clone().into_iter().filter(|(_, allowlist)| {
                let end = allowlist.as_ref().and_then(|allowlist| allowlist.spec.expires_at.clone());
                end.is_none_or(|end| end.0 > now)
            });
            let never_had = World { allowlists: without_ended.collect(), ..world.clone() };
            world = settled(world);
            prop_assert_eq!(world.objects.observe(), settled(never_had).objects.observe());

            // Until the time to look again, nothing would change.
            let next = world.plan().next;
            prop_assert!(next.is_none_or(|next| next > now));
            let last = next.map_or(at(1_000_000), |next| Time(next).0 - jiff::SignedDuration::from_secs(1));
            let until = World { now: last, ..world.clone() };
            prop_assert_eq!(settled(until).objects.observe(), world.objects.observe());
            let Some(next) = next else { break };
            world.now = next + jiff::SignedDuration::from_secs(late);
        }
        prop_assert_eq!(world.plan().next, None);
    }

    #[test]
    fn the_order_of_lists_does_not_matter(world in world(), seed in any::<u64>()) {
        let mut other = world.clone();
        for spec in other.declared.iter_mut().map(|declared| &mut declared.spec).chain(other.peers.values_mut()) {
            *spec = shuffled(spec, seed);
        }
        for allowlist in other.allowlists.values_mut().flatten() {
            allowlist.spec = shuffled(&allowlist.spec, seed);
        }
        other.settings.spec = shuffled(&other.settings.spec, seed);
        other.dns_addresses.reverse();
        prop_assert_eq!(settled(other).unordered(), settled(world).unordered());
    }

    #[test]
    fn drift_is_put_right(world in world(), drifts in prop::collection::vec(drift(), 1..4), budget in 0..12_usize) {
        let mut world = settled(world);
        let before = world.outcome();
        for drift in &drifts {
            tamper(&mut world, drift);
        }
        let plan = world.plan();
        world.carry_out(&plan, budget, 0, &mut orderly);
        world.settle(&mut orderly);
        prop_assert_eq!(world.outcome(), before);
    }

    #[test]
    fn what_cannot_be_read_or_is_gone_is_closed(mut world in world(), budget in 0..12_usize, gone in any::<bool>()) {
        crash(&mut world, &[budget]);
        let declared = world.declared.clone();
        let before = settled(world.clone()).outcome();
        (world.undecodable, world.declared) = if gone { (false, None) } else { (true, declared.clone()) };
        world.settle(&mut closed_first);
        prop_assert!(world.namespace.is_none() || is_closed(&world));
        prop_assert!(world.plan().next.is_none());
        if !gone {
            world.undecodable = false;
            prop_assert_eq!(settled(world).outcome(), before);
        }
    }

    #[test]
    fn a_deletion_closes_and_ends_in_its_order(
        mut world in world(), budgets in budgets(), pods in option::of(0..3_usize), grants in 0..3_usize,
        retain in any::<bool>(),
    ) {
        world = settled(world);
        (world.pods, world.open_grants) = (pods, grants);
        let declared = world.declared.as_mut().unwrap();
        declared.metadata.deletion_timestamp = Some(Time(at(0)));
        declared.spec.deletion_policy = if retain { DeletionPolicy::Retain } else { DeletionPolicy::Delete };
        let mut check = |world: &World, action: Option<&Action>| {
            orderly(world, action);
            assert!(world.deny_stands() || world.pods == Some(0), "pods run, and nothing denies");
            assert!(retain || action != Some(&Action::DropFinalizer) || world.namespace.is_none());
            match action {
                Some(Action::Release(_)) => assert!(world.pods == Some(0) && !retain),
                Some(Action::DropFinalizer) if retain => assert!(world.open_grants == 0 && is_closed(world)),
                Some(Action::DeleteNamespace { .. }) => assert!(!retain && is_closed(world)),
                Some(Action::Apply(child)) => assert!(!opens(child)),
                _ => {}
            }
        };
        for budget in budgets.into_iter().chain([usize::MAX; 12]) {
            let plan = world.plan();
            world.carry_out(&plan, budget, 0, &mut check);
            if budget > 2 {
                // Pods that were not listed are.
                world.pods = Some(world.pods.map_or(1, |pods| pods.saturating_sub(1)));
                world.open_grants = world.open_grants.saturating_sub(1);
                world.environment();
            }
        }
        prop_assert!(world.plan().is_empty() && world.declared.is_none());
        let labels = world.namespace.as_ref().map(|namespace| namespace.labels.clone());
        prop_assert_eq!(labels.is_some_and(|labels| labels.contains_key(labels::RETAINED)), retain);
        let ended = if retain { is_closed(&world) } else { world.objects.0.is_empty() };
        prop_assert!(ended);
    }

    #[test]
    fn a_foreign_namespace_is_touched_only_when_it_is_offered_and_clean(
        (mut world, may_take) in foreign(), budgets in budgets(),
    ) {
        let plan = world.plan();
        let was_ours = world.namespace.as_ref().is_some_and(|namespace| namespace.belongs_to(NAME));
        let offered = world.namespace.as_ref().is_some_and(|namespace| namespace.adopt.as_deref() == Some(NAME));
        if may_take {
            // What was given out for an account is worth nothing before the Namespace is taken over, whatever is cut off.
            let mut renewed = |world: &World, action: Option<&Action>| {
                let anew = world.inspection.accounts.iter().all(|account| account.uid == RENEWED);
                assert!(anew || !matches!(action, Some(Action::ApplyNamespace(_) | Action::Apply(_))));
            };
            for budget in budgets {
                let plan = world.plan();
                world.carry_out(&plan, budget, 0, &mut renewed);
                world.now += jiff::SignedDuration::from_secs(6);
            }
            world.settle(&mut renewed);
            prop_assert!(world.is_enforced() && world.deny_stands());
        } else if was_ours {
            let closed = settled(world);
            prop_assert!(!closed.is_enforced());
        } else if offered {
            let before = world.objects.observe();
            let refused = settled(world);
            prop_assert!(!refused.is_enforced() && refused.objects.observe() == before);
        } else {
            prop_assert!(plan.does_nothing(), "{:?}", plan);
            let status = plan.status.unwrap();
            prop_assert!(status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "False"));
        }
    }

    #[test]
    fn what_no_schema_admits_makes_no_panic_and_opens_nothing_early(
        world in world(), junk in prop::collection::vec((any::<prop::sample::Index>(), 0..8_usize), 1..6), budget in 0..20_usize,
    ) {
        let mut world = world;
        let declared = world.declared.as_mut().unwrap();
        declared.spec = spoiled(&declared.spec, &junk);
        for allowlist in world.allowlists.values_mut().flatten() {
            allowlist.spec = spoiled(&allowlist.spec, &junk);
        }
        world.settings.spec = spoiled(&world.settings.spec, &junk);
        crash(&mut world, &[budget, usize::MAX]);
        let enforced = world.namespace.as_ref().is_some_and(ObservedNamespace::is_enforced);
        prop_assert!(!enforced || world.names(ChildKind::NetworkPolicy).contains(&"cloister-deny-all"));
    }
}
