//! RoleGrants and EgressGrants.

use super::{
    desk::*,
    grants::{Shared, Shelf, World, debugger, role_facts},
};
use cloister_api::GrantPhase;
use cloister_core::model::child::{Child, ChildKey, ChildKind};
use serde_json::{Value, json};

fn opened(key: &str, more: Value) -> World {
    let mut world = world();
    ask(&mut world, key, more);
    settle(&mut world);
    assert_eq!(said(&world, key), (GrantPhase::Active, "Active".into()));
    world
}

fn debugging(resources: &[&str], bindable: bool) -> World {
    let mut world = world();
    world.cluster_roles.insert("cloister:debugger".into(), role_facts(resources, bindable));
    world
}

#[test]
fn a_role_is_bound_to_those_who_get_it() {
    let world = opened("role/debug", json!({"subjects": [{"kind": "User", "name": "alice"}]}));
    let key = ChildKey::new(ChildKind::RoleBinding, "cloister-role-grant.debug");
    let Child::RoleBinding(binding) = &world.objects.0[&key] else { unreachable!() };
    assert_eq!((world.objects.0.len(), binding.role_ref.name.as_str()), (1, "cloister:debugger"));
    let subject = &binding.subjects.as_ref().unwrap()[0];
    assert_eq!((subject.kind.as_str(), subject.name.as_str()), ("User", "alice"));
}

#[test]
fn a_role_that_cannot_be_given_is_not_asked_for() {
    let mut gone = world();
    gone.cluster_roles.remove("cloister:debugger");
    let cases = [
        ("AccessRoleNotFound", World { role: Shelf::Absent, ..world() }),
        ("AccessRoleUndecodable", World { role: Shelf::Undecodable, ..world() }),
        ("PolicyNotFound", World { policy: Shelf::Absent, ..world() }),
        ("ClusterRoleNotFound", gone),
        ("ClusterRoleRefused", debugging(&["serviceaccounts/token"], true)),
        ("ClusterRoleNotBindable", debugging(&["pods/exec"], false)),
    ];
    for (reason, mut world) in cases {
        ask(&mut world, "role/debug", json!({}));
        settle(&mut world);
        let_time_pass(&mut world);
        assert_eq!(told(&world, "role/debug"), (GrantPhase::Pending, reason.into(), true));
        assert!(world.objects.0.is_empty());
    }
}

#[test]
fn a_role_that_comes_to_allow_something_else_is_taken_away() {
    let ends = |key: &str, change: &dyn Fn(&mut World)| {
        let mut world = opened(key, json!({}));
        change(&mut world);
        settle(&mut world);
        assert_eq!(world.objects.0.is_empty(), said(&world, key).0 != GrantPhase::Active);
        said(&world, key)
    };
    let set = |name: &'static str, resources: &'static [&str], bindable: bool| {
        move |world: &mut World| drop(world.cluster_roles.insert(name.into(), role_facts(resources, bindable)))
    };
    let revoked = |reason: &str| (GrantPhase::Revoked, reason.to_owned());
    for (key, role) in [("role/debug", "cloister:debugger"), ("eval", "cloister:storage-reader")] {
        assert_eq!(ends(key, &set(role, &["pods/exec", "pods/portforward"], true)), revoked("TargetChanged"));
        assert_eq!(ends(key, &set(role, &["serviceaccounts/token"], true)), revoked("TargetGone"));
        assert_eq!(ends(key, &|world| world.cluster_roles.clear()), revoked("TargetGone"));
        assert_eq!(ends(key, &set(role, &["pods/exec"], true)).0, GrantPhase::Active, "nothing has changed");
    }
    let other = |world: &mut World| {
        let mut role = debugger();
        role.spec.cluster_role = "cloister:storage-reader".into();
        world.role = Shelf::Read(Shared::new(role));
    };
    assert_eq!(ends("role/debug", &other), revoked("TargetChanged"), "another ClusterRole that allows the same");
    assert_eq!(ends("role/debug", &|world| world.role = Shelf::Absent), revoked("TargetGone"));
}

#[test]
fn a_rule_is_open_while_its_grant_lasts() {
    let mut world = opened("egress/lab", json!({}));
    let key = ChildKey::new(ChildKind::NetworkPolicy, "cloister-egress-grant.lab");
    let Child::NetworkPolicy(policy) = &world.objects.0[&key] else { unreachable!() };
    let egress = &policy.spec.as_ref().unwrap().egress.as_ref().unwrap()[0];
    assert_eq!(egress.to.as_ref().unwrap()[0].ip_block.as_ref().unwrap().cidr, "203.0.113.0/24");
    assert_eq!(world.objects.0.len(), 1);
    world.now = status(&world, "egress/lab").expires_at.unwrap().0;
    settle(&mut world);
    assert!(world.objects.0.is_empty() && said(&world, "egress/lab").0 == GrantPhase::Expired);
}

#[test]
fn nobody_is_asked_about_a_rule_that_cannot_be_opened() {
    let cases = [
        ("NetworksNeverOpened", json!({"networks": ["169.254.169.254/32"]})),
        ("ServiceNotNamed", json!({"service": {"namespace": "infra", "name": "gone"}})),
        ("WildcardNotEnforceable", json!({"domainNames": ["*.example.com"]})),
    ];
    for (reason, target) in cases {
        let mut world = by_people(json!({}));
        ask(&mut world, "egress/lab", json!({"rule": merged(json!({"name": "lab", "ports": [{"port": 80}]}), target)}));
        settle(&mut world);
        assert_eq!(told(&world, "egress/lab"), (GrantPhase::Pending, reason.into(), true));
    }
}

/// What a grant opens is held by addresses, whatever opens egress.
#[test]
fn a_wildcard_sends_to_an_allowlist_and_to_no_network_plugin() {
    let mut world = by_people(json!({}));
    ask(
        &mut world,
        "egress/lab",
        json!({"rule": {"name": "lab", "ports": [{"port": 443}], "domainNames": ["*.hf.co"]}}),
    );
    settle(&mut world);
    let status = status(&world, "egress/lab");
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!(
        ready.message,
        "the rule stays closed: *.hf.co cannot be opened by addresses, because nobody can list the names that it stands for, \
         and a grant opens only addresses, whatever egress.backend of CloisterConfig is; name the hosts that are needed, or \
         ask a catalogue administrator for an EgressAllowlist with this name, which covers egress.rules of the ResearchNamespace that name \
         hosts below it. A grant cannot be changed: if its rule is wrong, delete it, and ask again with another rule"
    );
}

/// Whoever may ask for an EgressGrant may not list the Services of others.
#[test]
fn a_service_that_no_allowlist_names_is_not_told_of() {
    let ask_for = |name: &str, port: u16, ready: fn(&mut World)| {
        let mut world = by_people(json!({}));
        ready(&mut world);
        let service = json!({"namespace": "infra", "name": name});
        ask(&mut world, "egress/lab", json!({"rule": {"name": "lab", "ports": [{"port": port}], "service": service}}));
        settle(&mut world);
        let status = status(&world, "egress/lab");
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        (status.reason.clone(), ready.message.clone())
    };
    let named = |world: &mut World| {
        for name in ["cache", "gone"] {
            world
                .named_services
                .insert(cloister_api::ServiceReference { namespace: "infra".into(), name: name.into() });
        }
    };
    let hidden = |name: &str| {
        format!(
            "the rule stays closed: no EgressAllowlist that this namespace may use names Service infra/{name}, and it cannot \
             be opened as the rule is written: it does not exist, it does not have these ports, it has no selector, or it is \
             of type ExternalName; this message does not say which. Ask the owner of namespace infra for the name and the \
             ports of the Service. A grant cannot be changed: if its rule is wrong, delete it, and ask again with another rule"
        )
    };
    assert_eq!(ask_for("gone", 80, |_| {}), ("ServiceNotNamed".into(), hidden("gone")));
    assert_eq!(ask_for("cache", 81, |_| {}), ("ServiceNotNamed".into(), hidden("cache")));
    assert_eq!(ask_for("gone", 80, named).0, "ServiceNotFound");
    assert_eq!(ask_for("cache", 81, named).0, "ServicePortNotFound");
    assert_eq!(ask_for("cache", 80, |_| {}).0, "AwaitingApproval");
}

/// The owners say what the namespace needs. What people agreed to stays open until it ends, and everybody sees it.
#[test]
fn an_open_grant_says_that_its_rule_is_declared_no_more() {
    let lab = |network: &str| -> cloister_api::EgressRule {
        serde_json::from_value(json!({"name": "lab", "networks": [network], "ports": [{"port": 443}]})).unwrap()
    };
    let mut world = world();
    world.rules = Shared::new(vec![lab("203.0.113.0/24")]);
    ask(&mut world, "egress/lab", json!({"rule": lab("203.0.113.0/25")}));
    settle(&mut world);
    let mut after = |rules: Vec<cloister_api::EgressRule>| {
        world.rules = Shared::new(rules);
        settle(&mut world);
        let status = status(&world, "egress/lab");
        assert_eq!((status.phase, world.objects.0.len()), (GrantPhase::Active, 1));
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        let end = status.expires_at.as_ref().unwrap().0;
        (status.reason.clone(), ready.message.strip_prefix(&format!("open until {end}")).unwrap().to_owned())
    };
    let keeps = "the grant keeps its own rule open until it ends; revoke it if that is not needed (an AccessReview with the decision \
                 Revoke)";
    assert_eq!(after(vec![lab("203.0.113.0/24")]), ("Active".into(), String::new()));
    let narrowed = format!(
        "; ResearchNamespace interp now declares rule lab as 203.0.113.0/26:443, which does not cover all of \
         203.0.113.0/25:443, and {keeps}"
    );
    assert_eq!(after(vec![lab("203.0.113.0/26")]), ("RuleDiffers".into(), narrowed));
    let deleted = format!("; ResearchNamespace interp declares no egress rule lab, and {keeps}");
    assert_eq!(after(Vec::new()), ("Active".into(), deleted));
    assert_eq!(after(vec![lab("203.0.113.0/25")]), ("Active".into(), String::new()));
}

#[test]
fn grants_of_different_kinds_and_one_name_are_told_apart() {
    let mut world = opened("role/same", json!({}));
    for key in ["same", "egress/same"] {
        ask(&mut world, key, json!({}));
    }
    settle(&mut world);
    assert_eq!(["same", "role/same", "egress/same"].map(|key| world.children_of(key)), [1, 1, 1]);
    world.grants.get_mut("role/same").unwrap().metadata_mut().deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now));
    settle(&mut world);
    assert_eq!(["same", "role/same", "egress/same"].map(|key| world.children_of(key)), [1, 0, 1]);
}

/// What a Service leads to may be changed by whoever may change the Service, and not by those who agreed.
#[test]
fn a_service_that_is_another_than_was_agreed_to_is_closed_and_said() {
    let rule =
        json!({"rule": {"name": "cache", "service": {"namespace": "infra", "name": "cache"}, "ports": [{"port": 80}]}});
    let endpoint = json!({"endpoint": {"service": {"namespace": "infra", "name": "cache"}, "ports": [{"port": 80}]}});
    for (key, more) in [("egress/cache", rule), ("eval", json!({}))] {
        let mut world = World { storage: super::desk::storage(endpoint.clone()), ..world() };
        ask(&mut world, key, more);
        settle(&mut world);
        assert_eq!(said(&world, key).0, GrantPhase::Active, "{key}");

        // One that is not there for a while opens nothing, and is no other.
        world.service.is_absent = true;
        settle(&mut world);
        assert_eq!(said(&world, key), (GrantPhase::Active, "ServiceNotFound".into()), "{key}");
        let policies =
            |world: &World| world.objects.0.keys().filter(|key| key.kind == ChildKind::NetworkPolicy).count();
        assert_eq!(policies(&world), 0);
        world.service.is_absent = false;
        settle(&mut world);
        assert_eq!((said(&world, key), policies(&world)), ((GrantPhase::Active, "Active".into()), 1), "{key}");

        world.service.made += 1;
        settle(&mut world);
        assert_eq!((said(&world, key), policies(&world)), ((GrantPhase::Revoked, "TargetChanged".into()), 0), "{key}");
        let conditions = status(&world, key).conditions;
        let ready = conditions.iter().find(|c| c.type_ == "Ready").unwrap();
        assert!(ready.message.contains("the Service that it leads to"), "{}", ready.message);
    }
}

#[test]
fn what_has_changed_is_said() {
    let mut world = opened("role/debug", json!({}));
    world.cluster_roles.insert("cloister:debugger".into(), role_facts(&["pods/exec", "pods/portforward"], true));
    settle(&mut world);
    assert_eq!(said(&world, "role/debug"), (GrantPhase::Revoked, "TargetChanged".into()));
    let conditions = status(&world, "role/debug").conditions;
    let ready = conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert!(
        ready.message.contains(
            "was approved: what ClusterRole cloister:debugger allows (now also create of pods/exec,pods/portforward, and no longer \
             create of pods/exec); ask again"
        ),
        "{}",
        ready.message
    );
}

#[test]
fn who_profits_is_whoever_it_is_opened_for() {
    let members = json!([{"role": "Researcher", "subjects": [{"kind": "User", "name": "ivy"}]}]);
    let rule = json!({"approvalRules": [{"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]}]});
    let endpoint = json!({"endpoint": {"networks": ["203.0.113.0/24"], "ports": [{"port": 443}]}});
    let user = json!({"subjects": [{"kind": "User", "name": "alice"}], "mount": null});
    for (endpoint, decides) in [(endpoint, false), (json!({}), true)] {
        let mut world = World { storage: super::desk::storage(endpoint), ..by_people(rule.clone()) };
        world.members = serde_json::from_value(members.clone()).unwrap();
        ask(&mut world, "eval", user.clone());
        settle(&mut world);
        review(&mut world, "eval", cloister_api::Decision::Approve, person("ivy", &["security"]));
        settle(&mut world);
        let phase = if decides { GrantPhase::Active } else { GrantPhase::Pending };
        assert_eq!(said(&world, "eval").0, phase, "the endpoint is opened to all pods: {}", !decides);
        review(&mut world, "eval", cloister_api::Decision::Approve, person("sam", &["security"]));
        settle(&mut world);
        assert_eq!(said(&world, "eval").0, GrantPhase::Active, "somebody outside decides");
    }
}
