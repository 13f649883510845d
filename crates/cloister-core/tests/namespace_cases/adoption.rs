//! A Namespace that is there already: what is said of it before it is adopted, and who takes back one that was retained.

use super::*;
use cloister_core::namespace::{Unseen, may_be_policies};

/// What the operator writes on a Namespace that it keeps.
const KEPT: [(&str, &str); 2] = [(labels::RESEARCH_NAMESPACE, NAME), (labels::RETAINED, "true")];

const WHO: &str = "ask a catalogue administrator (ClusterRole cloister:catalogue-admin) to run: kubectl annotate";

/// A Namespace with these labels, and a ResearchNamespace of its name that asks for one by its annotation.
fn there(labels: &[(&str, &str)], asked: Option<&str>) -> World {
    let mut world = world(json!({}));
    world.objects.0.clear();
    world.namespace = namespace(labels, None);
    ask(&mut world, asked);
    world
}

fn ask(world: &mut World, asked: Option<&str>) {
    let annotations = asked.map(|asked| [(labels::ADOPT.to_owned(), asked.to_owned())].into());
    world.declared.as_mut().unwrap().metadata.annotations = annotations;
}

/// One that its administrator offers.
fn offered() -> World {
    let mut world = there(&[], None);
    world.namespace.as_mut().unwrap().adopt = Some(NAME.into());
    world
}

fn told(world: &World) -> (String, String) {
    let status = world.declared.as_ref().unwrap().status.clone().unwrap();
    let ready = status.conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap();
    (ready.reason, ready.message)
}

/// As it goes on when it is looked at again.
fn again(mut world: World) -> World {
    world.now += SignedDuration::from_secs(10);
    settled(world)
}

#[test]
fn who_declares_it_takes_a_retained_namespace_back() {
    let mut world = there(&KEPT, Some(NAME));
    let plan = world.plan();
    let actions: Vec<_> = plan.actions().collect();
    assert!(matches!(actions.as_slice(), [Action::MarkAdopting(Some(_))]), "it is closed first: {actions:?}");
    world.carry_out(&plan, usize::MAX, 0, &mut |_, _| {});
    assert!(world.is_adopting() && says(&world, "Ready", "False", "Adopting"));

    let mut withdrawn = world.clone();
    ask(&mut withdrawn, None);
    let withdrawn = settled(withdrawn);
    assert!(!withdrawn.is_adopting() && withdrawn.namespace.unwrap().labels.contains_key(labels::RETAINED));

    let world = settled(world);
    assert!(world.is_enforced() && world.deny_stands() && !world.is_adopting());
    assert!(!world.namespace.unwrap().labels.contains_key(labels::RETAINED));
}

#[test]
fn a_retained_namespace_says_who_takes_it_back_and_how() {
    let kept = "Namespace interp was retained when its ResearchNamespace was deleted";
    let back = "to take it back, with its content for the members that are declared now";
    let cases = [
        (None, format!("{kept}; {back}, {WHO} researchnamespace interp cloister.dev/adopt=interp")),
        (
            Some("prep"),
            format!(
                "{kept}; the ResearchNamespace's annotation cloister.dev/adopt says \"prep\", which is another name; {back}, \
                 {WHO} --overwrite researchnamespace interp cloister.dev/adopt=interp"
            ),
        ),
    ];
    for (asked, message) in cases {
        let world = settled(there(&KEPT, asked));
        assert_eq!(told(&world), ("NamespaceExists".to_owned(), message));
        assert!(!world.is_enforced() && world.namespace.unwrap().labels.contains_key(labels::RETAINED));
    }
    // An administrator may offer it on the Namespace, as any other.
    let mut world = there(&KEPT, None);
    world.namespace.as_mut().unwrap().adopt = Some(NAME.into());
    assert!(settled(world).is_enforced());
}

#[test]
fn a_declaration_takes_only_what_was_retained_of_its_name() {
    let others: [&[(&str, &str)]; 5] = [
        &[],
        &[(labels::RETAINED, "true")],
        &[(labels::RESEARCH_NAMESPACE, "prep"), (labels::RETAINED, "true")],
        // From before there was anybody to reserve the label, or left by an operator that was not there at the end.
        &[(labels::RESEARCH_NAMESPACE, NAME)],
        &[(labels::RESEARCH_NAMESPACE, NAME), (labels::RETAINED, "false")],
    ];
    for labels in others {
        let mut world = there(labels, Some(NAME));
        world.settle(&mut |_, action| assert!(!matches!(action, Some(Action::MarkAdopting(_) | Action::AddFinalizer))));
        assert!(!world.is_enforced());
        assert_eq!(
            told(&world),
            (
                "NamespaceExists".to_owned(),
                "a Namespace interp exists already; the annotation of the ResearchNamespace takes back only a Namespace that \
                 Cloister has retained; choose another name, or, if its content is meant to become this research namespace, ask a cluster administrator \
                 to run: kubectl annotate namespace interp cloister.dev/adopt=interp"
                    .to_owned()
            ),
            "{labels:?}"
        );
    }
    // One that is being deleted takes nothing.
    let mut world = there(&KEPT, Some(NAME));
    world.declared.as_mut().unwrap().metadata.deletion_timestamp = Some(Time(at(0)));
    assert!(!settled(world).is_enforced());
}

#[test]
fn workloads_that_were_left_are_deleted_before_a_retained_namespace_is_taken_back() {
    let mut world = there(&KEPT, Some(NAME));
    world.inspection.others.push("Deployment/train".to_owned());
    let mut world = settled(world);
    assert_eq!(
        told(&world),
        (
            "ForeignObjects".to_owned(),
            "Namespace interp contains objects that are not taken back: Deployment/train; ask a cluster administrator to delete \
             them, then the Namespace is adopted. Until then, new objects of these kinds are rejected there; create what is \
             still needed afterwards"
                .to_owned()
        )
    );
    assert!(world.is_adopting() && world.namespace.as_ref().unwrap().labels.contains_key(labels::RETAINED));
    world.inspection.others.clear();
    assert!(again(world).is_enforced());
}

fn forbidden(verb: &'static str, resource: &str, said: Option<&str>) -> Unseen {
    Unseen::Forbidden { verb, resource: resource.to_owned(), said: said.map(str::to_owned) }
}

#[test]
fn what_the_operator_may_not_list_is_named_and_who_gives_it_the_right() {
    let mut world = offered();
    world.inspection.unseen.push(forbidden("list", "stagednetworkpolicies.crd.projectcalico.org", None));
    let mut world = settled(world);
    assert_eq!(
        told(&world),
        (
            "InspectionIncomplete".to_owned(),
            "The operator does not have the permission to list stagednetworkpolicies.crd.projectcalico.org, so it cannot inspect \
             Namespace interp completely; ask a cluster administrator to add this permission to ClusterRole cloister:operator \
             (deploy/rbac/operator.yaml). The operator inspects the Namespace again every 10 seconds"
                .to_owned()
        )
    );
    assert_eq!(world.plan().next, Some(world.now + SignedDuration::from_secs(10)));
    world.inspection.unseen.clear();
    assert!(again(world).is_enforced());
}

#[test]
fn what_was_found_is_told_beside_what_could_not_be_seen() {
    let mut world = offered();
    world.inspection.others.push("Service/front".to_owned());
    world.inspection.unseen = vec![
        forbidden("list", "networkpolicies.projectcalico.org", Some("operation on Calico tiered policy is forbidden")),
        forbidden("list", "jobs.batch", None),
        forbidden("deletecollection", "secrets", None),
        Unseen::Failed("pods: no answer within 10s".to_owned()),
    ];
    let mut world = settled(world);
    let failed =
        "Namespace interp could not be checked completely (pods: no answer within 10s); the operator tries again";
    assert_eq!(
        told(&world),
        (
            "ForeignObjects".to_owned(),
            format!(
                "Namespace interp contains objects that admission has never checked: Service/front; ask a cluster administrator \
                 to delete them. Until then, new objects of these kinds are rejected there; create what is still needed \
                 afterwards. The operator does not have the permission to deletecollection secrets, or list \
                 networkpolicies.projectcalico.org (the API server says: operation on Calico tiered policy is forbidden), \
                 jobs.batch, so it cannot inspect Namespace interp completely; ask a cluster administrator to add these \
                 permissions to ClusterRole cloister:operator (deploy/rbac/operator.yaml). The operator inspects the Namespace \
                 again every 10 seconds. {failed}"
            )
        )
    );
    // Nothing is adopted on the word of a request that failed.
    world.inspection.others.clear();
    world.inspection.unseen.drain(..3);
    let mut world = again(world);
    assert_eq!(told(&world), ("InspectionIncomplete".to_owned(), failed.to_owned()));
    world.inspection.unseen.clear();
    assert!(again(world).is_enforced());
}

#[test]
fn kinds_of_policies_are_looked_at_and_views_of_them_are_not() {
    let all = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    // Of Antrea: counters, and the policies that it has computed. Nobody writes or deletes them.
    let view = ["get", "list", "watch"];
    let cases: [(&str, &[&str], bool); 8] = [
        ("networkpolicies", &all, true),
        ("stagednetworkpolicies", &all, true),
        ("stagedkubernetesnetworkpolicies", &all, true),
        ("multi-networkpolicies", &["list", "patch"], true),
        ("networkpolicies", &view, false),
        ("networkpolicystats", &view, false),
        ("networksets", &all, false),
        ("networkpolicies", &["create"], false),
    ];
    for (plural, verbs, expected) in cases {
        assert_eq!(may_be_policies(plural, |verb| verbs.contains(&verb)), expected, "{plural} {verbs:?}");
    }
}
