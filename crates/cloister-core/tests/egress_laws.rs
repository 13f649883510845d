//! Laws of egress rules, on random rules and random connections. What a rule and a NetworkPolicy admit is worked out
//! here by other means than in the library: one connection at a time, on numbers.

mod egress_probe;

use cloister_api::{EgressRule, EgressState, Port, Protocol};
use cloister_core::{
    address::{NeverOpened, Refusal},
    egress::{
        AllowRule, Covered, EgressTarget, Opened, Peers, Surroundings, open, open_covered, open_rule, open_rule_in_part,
    },
    proof::{Declaration, Facts, excess},
};
use egress_probe::{
    Probe, held, opening_admits, probe, probe_of, resolved, rule, rule_admits, rule_and_allowed, scenario, service,
    target_admits,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use std::sync::LazyLock;

static NEVER: LazyLock<NeverOpened> = LazyLock::new(|| NeverOpened::new(&["10.0.0.4/31".parse().unwrap()]));

fn surroundings() -> Surroundings<'static> {
    Surroundings { never: &NEVER, services: &service, wildcards: false }
}

fn covered(own: &EgressRule, allowed: &[EgressRule]) -> Covered {
    let names = ["a", "b", "c"].into_iter().cycle();
    let allowed: Vec<(&str, &EgressRule)> = names.zip(allowed).collect();
    open_covered(own, &allowed, &surroundings())
}

fn opened(rule: &EgressRule) -> Result<AllowRule, Refusal> {
    open_rule(rule, &surroundings())
}

fn admitted(openings: &[AllowRule], probe: &Probe) -> bool {
    let mut openings = openings.iter();
    openings.any(|opening| opening_admits(opening, probe))
}

/// What of a rule can be opened.
fn in_part(rule: &EgressRule) -> Opened {
    open_rule_in_part(rule, &surroundings())
}

/// Whether a rule of an allowlist counts: a wildcard opens nothing itself, and covers.
fn covers(rule: &EgressRule) -> bool {
    open_rule_in_part(rule, &Surroundings { wildcards: true, ..surroundings() }).opening.is_some()
}

/// The same rule with one of its networks or names alone, for each; nothing where it names something else.
fn item_by_item(rule: &EgressRule) -> Vec<EgressRule> {
    let networks = rule
        .networks
        .iter()
        .flatten()
        .map(|network| EgressRule { networks: Some(vec![network.clone()]), ..rule.clone() });
    let names = rule
        .domain_names
        .iter()
        .flatten()
        .map(|name| EgressRule { domain_names: Some(vec![name.clone()]), ..rule.clone() });
    networks.chain(names).collect()
}

/// Items that can be opened in no rule.
const BAD_NETWORKS: [&str; 6] =
    ["0.0.0.0/0", "169.254.0.0/16", "10.0.0.4/31", "203.0.113.1/24", "nonsense", "::ffff:10.0.0.0/104"];
const BAD_NAMES: [&str; 6] = ["*.co.uk", "203.0.113.9", "a..b", "kubernetes.default.svc", "*.example.org", "x.svc"];

/// What the policy of an opening has beyond what all of these rules agree to.
fn too_much(opening: &AllowRule, rules: &[&EgressRule]) -> Option<String> {
    let (opening, held) = held(opening);
    let policy = NetworkPolicy { spec: Some(opening.to_network_policy_spec()), ..NetworkPolicy::default() };
    let declared: Option<Vec<Declaration<'_>>> = rules.iter().map(|rule| Declaration::rule(rule)).collect();
    let facts = Facts { names: &held, services: &service, never: &NEVER };
    excess(&policy, &declared.into_iter().collect(), &facts).unwrap().map(|excess| excess.what)
}

/// Whether nothing forbids the address, whoever agreed to it.
fn reachable(probe: &Probe) -> bool {
    probe.address().is_none_or(|address| !NEVER.contains(address))
}

/// The same rule, with all its lists the other way round.
fn reversed(rule: &EgressRule) -> EgressRule {
    let mut rule = rule.clone();
    rule.ports.reverse();
    rule.networks.iter_mut().for_each(|list| list.reverse());
    rule.domain_names.iter_mut().for_each(|list| list.reverse());
    let selectors = rule.pod_selector.iter_mut();
    for expressions in selectors.flat_map(|selector| &mut selector.match_expressions) {
        expressions.reverse();
        let values = expressions.iter_mut().flat_map(|expression| &mut expression.values);
        values.for_each(|list| list.reverse());
    }
    rule
}

proptest! {
    #[test]
    fn what_is_open_is_never_wider_than_either_side((own, allowed, probes) in scenario()) {
        let covered = covered(&own, &allowed);
        for probe in probes.iter().filter(|probe| admitted(&covered.openings, probe)) {
            prop_assert!(rule_admits(&own, probe), "wider than the rule: {probe:?}");
            let mut agreed = allowed.iter().filter(|rule| rule_admits(rule, probe));
            prop_assert!(agreed.any(covers), "wider than agreed: {probe:?}");
            prop_assert!(reachable(probe), "never to be opened: {probe:?}");
        }
    }

    #[test]
    fn each_opening_is_within_one_allowed_rule((own, allowed, probes) in scenario()) {
        for opening in covered(&own, &allowed).openings {
            let inside: Vec<&Probe> = probes.iter().filter(|probe| opening_admits(&opening, probe)).collect();
            let holds_all = |rule: &EgressRule| inside.iter().all(|probe| rule_admits(rule, probe));
            prop_assert!(allowed.iter().any(holds_all), "openings are merged: {opening:?}");
        }
    }

    #[test]
    fn an_active_rule_is_open_all_of_it((own, allowed, probes) in scenario()) {
        let covered = covered(&own, &allowed);
        if covered.state == EgressState::Active && covered.refused.is_empty() {
            for probe in &probes {
                let expected = reachable(probe) && rule_admits(&own, probe);
                prop_assert_eq!(admitted(&covered.openings, probe), expected, "{:?}", probe);
            }
        }
    }

    #[test]
    fn a_rule_covers_itself((own, mut allowed, probes) in scenario()) {
        allowed.push(own.clone());
        let covered = covered(&own, &allowed);
        match opened(&own) {
            Ok(opening) => {
                prop_assert_eq!(covered.state, EgressState::Active);
                for probe in &probes {
                    prop_assert_eq!(admitted(&covered.openings, probe), opening_admits(&opening, probe));
                }
            }
            Err(refusal) => {
                let Opened { opening, closed } = in_part(&own);
                prop_assert_eq!((&covered.refused, closed.first()), (&closed, Some(&refusal)));
                let state = if opening.is_some() { EgressState::Active } else { EgressState::Refused };
                prop_assert_eq!(covered.state, state);
                let opening: Vec<AllowRule> = opening.into_iter().collect();
                for probe in &probes {
                    prop_assert_eq!(admitted(&covered.openings, probe), admitted(&opening, probe));
                }
            }
        }
    }

    #[test]
    fn what_both_sides_agree_on_is_open((own, allowed, probes) in scenario()) {
        // Not so for Services: two ports of one may lead to the same port of its pods.
        if own.networks.is_none() || opened(&own).is_err() {
            return Ok(());
        }
        let covered = covered(&own, &allowed);
        let allowed = allowed.iter().filter(|rule| rule.networks.is_some());
        let allowed: Vec<AllowRule> = allowed.filter_map(|rule| in_part(rule).opening).collect();
        for probe in &probes {
            let agreed = admitted(&allowed, probe);
            let expected = reachable(probe) && agreed && rule_admits(&own, probe);
            prop_assert_eq!(admitted(&covered.openings, probe), expected, "{:?}", probe);
        }
    }

    #[test]
    fn the_order_of_what_is_declared_does_not_matter(
        (own, named, shuffled) in rule_and_allowed().prop_flat_map(|(own, allowed)| {
            let named: Vec<(&str, EgressRule)> = ["a", "b", "c"].into_iter().cycle().zip(allowed).collect();
            (Just(own), Just(named.clone()), Just(named).prop_shuffle())
        })
    ) {
        let outcome = |own: &EgressRule, named: &[(&str, EgressRule)]| {
            let allowed: Vec<(&str, &EgressRule)> = named.iter().map(|(name, rule)| (*name, rule)).collect();
            // Of rules that say the same, any may be the one that agrees.
            Covered { agreed_by: Vec::new(), ..open_covered(own, &allowed, &surroundings()) }
        };
        let other: Vec<_> = shuffled.iter().map(|(name, rule)| (*name, reversed(rule))).collect();
        prop_assert_eq!(outcome(&own, &named), outcome(&reversed(&own), &other));
    }

    #[test]
    fn networks_are_canonical_and_disjoint((own, allowed, _) in scenario()) {
        for opening in covered(&own, &allowed).openings {
            let opening = resolved(&opening);
            let spec = serde_json::to_value(opening.to_network_policy_spec()).unwrap();
            if opening.peers == Peers::Networks(Vec::new()) {
                prop_assert!(spec["egress"].is_null(), "open to all");
                continue;
            }
            let (to, ports) = (&spec["egress"][0]["to"], &spec["egress"][0]["ports"]);
            prop_assert!(to.as_array().is_some_and(|to| !to.is_empty()), "open to all");
            prop_assert!(ports.as_array().is_some_and(|ports| !ports.is_empty()), "open on all ports");
            let blocks = to.as_array().unwrap().iter().filter_map(|peer| peer["ipBlock"]["cidr"].as_str());
            let blocks: Vec<(bool, (u128, u128))> = blocks
                .map(|cidr| (cidr.contains(':'), egress_probe::range(cidr).expect("bits set after the prefix")))
                .collect();
            for pair in blocks.windows(2) {
                let ((first_is_v6, first), (second_is_v6, second)) = (pair[0], pair[1]);
                if first_is_v6 != second_is_v6 {
                    prop_assert!(second_is_v6, "IPv4 first");
                    continue;
                }
                prop_assert!(first.1 < second.0, "sorted and disjoint: {:?}", blocks);
                let (size, second_size) = (first.1 - first.0 + 1, second.1 - second.0 + 1);
                let one_block = first.1 + 1 == second.0 && size == second_size && (first.0 / size) % 2 == 0;
                prop_assert!(!one_block, "not the shortest form: {:?}", blocks);
            }
        }
    }

    #[test]
    fn the_proof_has_nothing_against_what_was_agreed_to((own, allowed, _) in scenario()) {
        let covered = covered(&own, &allowed);
        for (opening, by) in covered.openings.iter().zip(&covered.agreed_by) {
            prop_assert_eq!(too_much(opening, &[&own, &allowed[*by]]), None);
        }
    }

    #[test]
    fn the_proof_finds_whatever_a_rule_does_not_say((own, allowed, probes) in scenario()) {
        for (agreed, opening) in allowed.iter().filter_map(|rule| Some((&own, opened(rule).ok()?))) {
            let open = |probe: &&Probe| opening_admits(&opening, probe) && !rule_admits(agreed, probe);
            if let Some(probe) = probes.iter().find(open) {
                prop_assert!(too_much(&opening, &[agreed]).is_some(), "{:?}", probe);
            }
        }
    }

    #[test]
    fn an_item_that_cannot_be_opened_closes_no_other(
        (own, which, at) in (rule(), prop::collection::vec(0..6_usize, 1..4), any::<prop::sample::Index>())
    ) {
        let good = in_part(&own);
        let mut mixed = own.clone();
        for which in which {
            for (items, bad) in [(&mut mixed.networks, BAD_NETWORKS), (&mut mixed.domain_names, BAD_NAMES)] {
                let Some(items) = items else { continue };
                items.insert(at.index(items.len() + 1), bad[which].to_owned());
            }
        }
        if mixed == own || own.networks.as_ref().or(own.domain_names.as_ref()).is_none_or(Vec::is_empty) {
            return Ok(());
        }
        let mixed = in_part(&mixed);
        prop_assert_eq!(&mixed.opening, &good.opening);
        prop_assert!(!mixed.closed.is_empty());
    }

    #[test]
    fn a_rule_opens_what_each_of_its_items_would(
        (own, probes) in rule().prop_flat_map(|rule| {
            let probes = prop::collection::vec(probe_of(&rule), 96);
            (Just(rule), probes)
        })
    ) {
        let items = item_by_item(&own);
        let whole = in_part(&own);
        if items.is_empty() || whole.closed.iter().any(|refusal| matches!(refusal, Refusal::NetworksTooWide { .. })) {
            return Ok(());
        }
        let alone: Vec<AllowRule> = items.iter().filter_map(|item| in_part(item).opening).collect();
        let whole: Vec<AllowRule> = whole.opening.into_iter().collect();
        for probe in &probes {
            prop_assert_eq!(admitted(&whole, probe), admitted(&alone, probe), "{:?}", probe);
        }
    }

    #[test]
    fn an_allowlist_rule_opens_whole_or_is_refused(
        (own, probes) in rule().prop_flat_map(|rule| {
            let probes = prop::collection::vec(probe_of(&rule), 96);
            (Just(rule), probes)
        })
    ) {
        if let Ok(opening) = opened(&own) {
            for probe in &probes {
                let expected = reachable(probe) && rule_admits(&own, probe);
                prop_assert_eq!(opening_admits(&opening, probe), expected, "{:?}", probe);
            }
        }
    }

    #[test]
    fn no_text_as_a_network_panics_or_opens_more_than_it_says(
        networks in prop::collection::vec(
            prop_oneof![any::<String>(), "[0-9a-f.:/]{0,20}", "[0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]{1,3}"],
            0..4,
        ),
        probes in prop::collection::vec(probe(), 16),
    ) {
        let ports = [Port { port: 1, end_port: Some(u16::MAX), protocol: Protocol::Tcp }];
        if let Ok(opening) = open(&EgressTarget::Networks(&networks), &ports, None, &surroundings()) {
            for probe in probes.iter().filter(|probe| opening_admits(&opening, probe)) {
                prop_assert!(target_admits(&networks, probe), "{:?}", probe);
            }
        }
    }
}

/// The laws would hold of nothing at all: a good part of the random scenarios must be about something.
#[test]
fn the_scenarios_are_about_something() {
    const SCENARIOS: usize = 512;
    let mut runner = TestRunner::deterministic();
    let (mut active, mut several, mut partly, mut admitting) = (0, 0, 0, 0);
    for _ in 0..SCENARIOS {
        let (own, allowed, probes) = scenario().new_tree(&mut runner).unwrap().current();
        let covered = covered(&own, &allowed);
        active += usize::from(covered.state == EgressState::Active);
        several += usize::from(covered.openings.len() > 1);
        let some = covered.state == EgressState::NeedsGrant && !covered.openings.is_empty();
        partly += usize::from(some);
        admitting += usize::from(probes.iter().any(|probe| admitted(&covered.openings, probe)));
    }
    let counts = [active, several, partly, admitting];
    assert!(counts.iter().all(|count| count * 10 > SCENARIOS), "{counts:?}");
}
