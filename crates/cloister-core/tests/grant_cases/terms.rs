//! Whether a request keeps its policy's terms, and what it waits for.

use super::{
    desk::*,
    grants::{Shared, Shelf, World},
};
use cloister_api::{GrantPhase, labels};
use cloister_core::{cluster::settings::Settings, grant::Home};
use jiff::SignedDuration;
use serde_json::{Value, json};

#[test]
fn a_request_that_keeps_the_terms_opens_until_its_end() {
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Active, "Active".into(), false));
    let end = status(&world, "eval").expires_at.clone().unwrap().0;
    assert_eq!(end, world.now + SignedDuration::from_mins(10), "the policy's default");
    assert!(world.has_mount("weights.reader.trainer") && world.children_of("eval") == 1);
    world.now = end;
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Expired, "Expired".into(), false));
    assert!(world.objects.0.is_empty() && world.secrets.is_empty());
}

#[test]
fn a_request_that_does_not_keep_the_terms_is_denied() {
    let base = world();
    let user = |name: &str| json!({"subjects": [{"kind": "User", "name": name}], "mount": null});
    let (later, past) = (seconds(&base, 7 * 86_400 + 1), seconds(&base, -700));
    let account = |name: &str| json!({"requestedBy": {"username": format!("system:serviceaccount:{name}"), "groups": ["researchers"]}});
    let cases = [
        ("RequesterNotAllowed", json!({}), json!({"requestedBy": {"username": "mallory", "groups": ["guests"]}})),
        ("RequesterNotAllowed", json!({"requesters": []}), json!({})),
        ("RequesterNotAllowed", json!({}), account("flux:other")),
        ("SubjectNotAllowed", json!({}), user("bob")),
        ("SubjectNotAllowed", json!({"beneficiaries": [{"kind": "User", "name": "bob"}]}), json!({})),
        ("JustificationMissing", json!({"justification": {"required": true}}), json!({"justification": " "})),
        (
            "JustificationMissing",
            json!({"justification": {"required": true}}),
            json!({"justification": "\u{200b}\u{3164}"}),
        ),
        ("TicketMissing", json!({"ticket": {"required": true}}), json!({})),
        ("TicketMissing", json!({"ticket": {"required": true}}), json!({"ticketRef": ""})),
        ("TicketMissing", json!({"ticket": {"required": true}}), json!({"ticketRef": "   "})),
        (
            "TicketMissing",
            json!({"ticket": {"required": true, "pattern": ".*"}}),
            json!({"ticketRef": "\u{a0}\u{2060}"}),
        ),
        ("TicketMalformed", json!({"ticket": {"pattern": "^SEC-[0-9]+$"}}), json!({"ticketRef": "SEC-x"})),
        ("PatternInvalid", json!({"ticket": {"pattern": "("}}), json!({"ticketRef": "SEC-1"})),
        ("DurationTooLong", json!({}), json!({"requestedDuration": "61m"})),
        ("StartTooLate", json!({}), json!({"startTime": later})),
        ("StartTooLate", json!({"maxStartDelay": "1s"}), json!({"startTime": seconds(&base, 2)})),
        ("WindowPassed", json!({}), json!({"startTime": past})),
    ];
    for (reason, terms, request) in cases {
        let world = World { policy: policy(terms), ..world() };
        assert_eq!(answer(world, request), (GrantPhase::Denied, reason.to_owned(), false));
    }
    let ticket = policy(json!({"ticket": {"required": true, "pattern": "^SEC-[0-9]+$"}}));
    let padded = World { policy: ticket, ..self::world() };
    assert_eq!(
        answer(padded, json!({"ticketRef": " SEC-1\n"})).0,
        GrantPhase::Active,
        "blanks around it are no part of it"
    );
    assert_eq!(answer(world(), user("alice")).0, GrantPhase::Active, "the requester may benefit");
    assert_eq!(answer(world(), json!({"startTime": seconds(&base, -500)})).0, GrantPhase::Active, "begun late");
}

#[test]
fn a_catalogue_that_does_not_do_is_waited_for() {
    let elsewhere = json!([{"name": "reader", "accessPolicy": "standard", "credential": {"secretRef": {"namespace": "default", "name": "weights"}}}]);
    let cases: [(&str, World); 9] = [
        ("StorageNotFound", World { storage: Shelf::Absent, ..world() }),
        ("StorageUndecodable", World { storage: Shelf::Undecodable, ..world() }),
        ("PolicyNotFound", World { policy: Shelf::Absent, ..world() }),
        ("PolicyUndecodable", World { policy: Shelf::Undecodable, ..world() }),
        (
            "RoleNotFound",
            World { storage: storage(json!({"roles": [{"name": "writer", "accessPolicy": "standard"}]})), ..world() },
        ),
        ("PolicyTooWeak", World { storage: storage(json!({"sensitivity": "High"})), ..world() }),
        ("CredentialMissing", World { credential: None, ..world() }),
        ("CredentialNamespaceNotAllowed", World { storage: storage(json!({"roles": elsewhere})), ..world() }),
        ("ConfigUndecodable", World { settings: Shared::new(Settings::unreadable()), ..world() }),
    ];
    for (reason, mut world) in cases {
        assert_eq!(answer(world.clone(), json!({})), (GrantPhase::Pending, reason.to_owned(), true));
        ask(&mut world, "eval", json!({}));
        world.now += SignedDuration::from_hours(24);
        settle(&mut world);
        assert_eq!(told(&world, "eval"), (GrantPhase::TimedOut, "TimedOut".into(), false), "{reason}");
        world = World { now: world.now, grants: world.grants, ..self::world() };
        settle(&mut world);
        assert_eq!(told(&world, "eval").0, GrantPhase::TimedOut, "an end is an end");
    }
}

#[test]
fn a_request_waits_for_its_namespace() {
    for (home, reason, stalled) in
        [(Home::NotEnforced, "NamespaceNotEnforced", false), (Home::Closed, "NotAResearchNamespace", true)]
    {
        assert_eq!(answer(World { home, ..world() }, json!({})), (GrantPhase::Pending, reason.to_owned(), stalled));
    }
    assert_eq!(answer(world(), json!({"requestedBy": null})), (GrantPhase::Pending, "RequesterUnknown".into(), true));
}

#[test]
fn a_policy_sees_what_was_asked_for_and_not_what_could_have_been() {
    let people = json!([{"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]}]);
    let told = |key: &str, expression: &str, request: Value| {
        let policy = policy(json!({"autoApprove": [expression], "approvalRules": people}));
        let mut world = World { policy, ..world() };
        ask(&mut world, key, request);
        settle(&mut world);
        said(&world, key).0
    };
    for unset in ["privateEndpoint", "podSelector", "service", "domainNames"] {
        for expression in [format!("has(request.rule.{unset})"), format!("'{unset}' in request.rule")] {
            assert_eq!(told("egress/lab", &expression, json!({})), GrantPhase::Pending, "{expression}");
        }
    }
    for unset in ["ticketRef", "justification", "startTime", "breakGlass", "mount", "requestedBy.uid"] {
        let expression = format!("has(request.{unset})");
        assert_eq!(told("egress/lab", &expression, json!({})), GrantPhase::Pending, "{expression}");
    }
    assert_eq!(told("egress/lab", "has(request.rule.networks)", json!({})), GrantPhase::Active);
    let user = json!({"subjects": [{"kind": "User", "name": "alice"}], "mount": null});
    assert_eq!(told("eval", "!has(request.mount)", user), GrantPhase::Active);
    assert_eq!(told("eval", "has(request.mount)", json!({})), GrantPhase::Active);
}

#[test]
fn people_are_waited_for_until_the_time_is_up() {
    let people = json!([{"name": "security", "required": 2, "approvers": [{"kind": "Group", "name": "security"}]}]);
    let by_people = json!({"approvalRules": people, "autoApprove": [], "pendingRequestTTL": "5m"});
    let waiting = (GrantPhase::Pending, "AwaitingApproval".to_owned(), false);
    assert_eq!(answer(World { policy: policy(by_people.clone()), ..world() }, json!({})), waiting);
    let nobody = (GrantPhase::Pending, "NoApproverLeft".to_owned(), true);
    assert_eq!(answer(World { policy: policy(json!({"autoApprove": []})), ..world() }, json!({})), nobody);
    for expression in ["false", "request.nothing", "1", "(", "request.requestedDuration == '601s'"] {
        let policy = policy(json!({"autoApprove": [expression]}));
        assert_eq!(answer(World { policy, ..world() }, json!({})), nobody, "{expression}");
    }
    let misspelt = policy(json!({"autoApprove": ["request.requestedDurration == '601s'"]}));
    let mut at_fault = World { policy: misspelt, ..world() };
    ask(&mut at_fault, "eval", json!({}));
    settle(&mut at_fault);
    let waits = message(&at_fault, "eval");
    assert!(
        waits.contains("no approvers; one of its expressions has an error (autoApprove[0]: ")
            && waits.contains("requestedDurration"),
        "{waits}"
    );
    let account = json!({"requestedBy": {"username": "system:serviceaccount:flux:sync", "groups": []}});
    assert_eq!(answer(world(), account), nobody, "no ServiceAccount is approved by itself");

    let mut world = World { policy: policy(by_people), ..world() };
    ask(&mut world, "eval", json!({}));
    assert_eq!(world.plan("eval").next, Some(world.now + SignedDuration::from_mins(5)));
    world.now += SignedDuration::from_mins(5);
    settle(&mut world);
    assert_eq!(told(&world, "eval").0, GrantPhase::TimedOut);
}

#[test]
fn an_endpoint_by_name_stays_closed_and_the_rest_opens() {
    let endpoint = |endpoint: Value| storage(json!({"endpoint": merged(json!({"ports": [{"port": 443}]}), endpoint)}));
    let cases = [
        (json!({"domainNames": ["weights.example.com"]}), "Resolving", false),
        (
            json!({"privateEndpoint": {"domainName": "w.example.com", "expectedNetworks": ["10.0.0.0/8"]}}),
            "Resolving",
            false,
        ),
        (json!({"networks": ["169.254.169.254/32"]}), "NetworksNeverOpened", true),
        (json!({"networks": ["203.0.113.0/24"]}), "Active", false),
    ];
    for (target, reason, stalled) in cases {
        let world = World { storage: endpoint(target), ..world() };
        assert_eq!(answer(world, json!({})), (GrantPhase::Active, reason.to_owned(), stalled));
    }
}

/// A Service that comes later is another than was agreed to, and would end what was given without it.
#[test]
fn a_storage_behind_a_service_that_is_not_there_is_given_when_it_is() {
    let endpoint = json!({"endpoint": {"service": {"namespace": "infra", "name": "cache"}, "ports": [{"port": 80}]}});
    let mut world = World { storage: storage(endpoint), ..world() };
    world.service.is_absent = true;
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Pending, "ServiceNotFound".into(), true));
    let said = message(&world, "eval");
    assert!(said.contains("ask the owner of namespace infra to create it"), "{said}");
    assert_eq!(said.matches("does not exist").count(), 1, "{said}");
    world.service.is_absent = false;
    settle(&mut world);
    assert_eq!(told(&world, "eval").0, GrantPhase::Active, "{}", message(&world, "eval"));
}

#[test]
fn a_pattern_for_tickets_that_cannot_be_read_is_no_mistake_of_the_ticket() {
    let ticket = json!({"ticket": {"required": true, "pattern": "^SEC-[0-9+$"}});
    let mut world = World { policy: policy(ticket), ..world() };
    ask(&mut world, "eval", json!({"ticketRef": "SEC-1"}));
    settle(&mut world);
    assert_eq!(told(&world, "eval").1, "PatternInvalid");
    let said = message(&world, "eval");
    assert!(
        said.starts_with(
            "ticket.pattern of AccessPolicy standard, \"^SEC-[0-9+$\", cannot be read, so no ticket is accepted: ask a policy \
             administrator (ClusterRole cloister:policy-admin) to correct it"
        ),
        "{said}"
    );
}

#[test]
fn a_grant_that_starts_later_opens_nothing_before() {
    let mut world = world();
    let start = seconds(&world, 60);
    ask(&mut world, "eval", json!({"startTime": start, "requestedDuration": "100s"}));
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Approved, "WaitingForStart".into(), false));
    assert!(world.objects.0.is_empty() && world.secrets.is_empty());
    assert_eq!(world.plan("eval").next, Some(world.now + SignedDuration::from_secs(60)));
    world.now += SignedDuration::from_secs(90);
    settle(&mut world);
    let end = status(&world, "eval").expires_at.clone().unwrap().0;
    assert_eq!((told(&world, "eval").0, end), (GrantPhase::Active, world.now + SignedDuration::from_secs(70)));
}

#[test]
fn the_source_of_a_credential_says_who_may_hand_it_out() {
    let offered = |annotations: &[(&'static str, &'static str)]| World {
        annotations: annotations.iter().copied().collect(),
        ..world()
    };
    let pending = |reason: &str| (GrantPhase::Pending, reason.to_owned(), true);
    let (storages, least) = (labels::STORAGE_RESOURCES, labels::MINIMUM_SENSITIVITY);
    for annotations in [
        vec![],
        vec![(storages, "")],
        vec![(storages, "weights-2,weight")],
        vec![(storages, "*")],
        vec![(storages, "weights"), (least, "Highest")],
    ] {
        assert_eq!(answer(offered(&annotations), json!({})), pending("CredentialNotOffered"), "{annotations:?}");
    }
    assert_eq!(answer(offered(&[(storages, "other, weights")]), json!({})).0, GrantPhase::Active);
    // The catalogue says Low, and the source more: the policy approves by itself, which is too weak for that.
    for sensitivity in ["High", "Critical"] {
        assert_eq!(
            answer(offered(&[(storages, "weights"), (least, sensitivity)]), json!({})),
            pending("PolicyTooWeak")
        );
    }
    assert_eq!(answer(offered(&[(storages, "weights"), (least, "Low")]), json!({})).0, GrantPhase::Active);

    // Taken back, it ends; said no more, it stays until its end and is not given again.
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    let mut silent = World { annotations: Shared::default(), ..world.clone() };
    settle(&mut silent);
    assert_eq!(told(&silent, "eval"), (GrantPhase::Active, "CredentialNotOffered".into(), true));
    let mut another = World { annotations: Shared::new([(storages, "another")].into()), ..world.clone() };
    settle(&mut another);
    assert_eq!(said(&another, "eval"), (GrantPhase::Revoked, "CredentialNotOffered".into()));
    // What is said stays true when it is offered again, and no command is given that was for then.
    assert!(
        message(&another, "eval").starts_with(
            "when it ended, it could no longer be granted: Secret weights in cloister-credentials did not allow StorageResource \
             weights to use it; ask its owner to allow it. That brings no grant back which has ended: once it can be granted, create \
             another request"
        ),
        "{}",
        message(&another, "eval")
    );
    // One that was emptied is missing.
    world.credential = Some(0);
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Active, "CredentialMissing".into(), true));
}

#[test]
fn a_policy_bounds_what_one_person_holds_and_has_waiting() {
    let limits = json!({"limits": {"active": 2, "pending": 3}});
    let ask_for = |world: &mut World, names: &[&str], more: Value| {
        for name in names {
            ask(world, name, more.clone());
            settle(world);
        }
        names.iter().map(|name| said(world, name)).collect::<Vec<_>>()
    };
    let (active, too_many) =
        ((GrantPhase::Active, "Active".to_owned()), (GrantPhase::Denied, "TooManyGrants".to_owned()));
    let waiting = (GrantPhase::Pending, "AwaitingApproval".to_owned());
    // What a policy approves by itself; those that start later count, too.
    let mut world = World { policy: policy(limits.clone()), ..world() };
    let later = (GrantPhase::Approved, "WaitingForStart".to_owned());
    let start = json!({"startTime": seconds(&world, 60)});
    assert_eq!(ask_for(&mut world, &["a", "b", "c"], start), [later.clone(), later, too_many.clone()]);
    let told = message(&world, "c");
    let wanted = "alice already has 2 grants for this (StorageAccessGrant interp/a, StorageAccessGrant interp/b), and AccessPolicy ";
    assert!(told.starts_with(wanted), "{told}");
    // Another person, and another target, have their own.
    let bob = json!({"requestedBy": {"username": "bob", "groups": ["researchers"]}});
    assert_eq!(ask_for(&mut world, &["d"], bob), std::slice::from_ref(&active));
    let lab =
        |name: &str, network: &str| json!({"rule": {"name": name, "networks": [network], "ports": [{"port": 443}]}});
    assert_eq!(ask_for(&mut world, &["egress/a"], lab("a", "192.0.2.0/26")), std::slice::from_ref(&active));
    assert_eq!(ask_for(&mut world, &["egress/b"], lab("b", "192.0.2.0/25")), std::slice::from_ref(&active));
    assert_eq!(
        ask_for(&mut world, &["egress/c"], lab("c", "192.0.2.0/24")),
        std::slice::from_ref(&too_many),
        "it overlaps"
    );
    assert_eq!(ask_for(&mut world, &["egress/d"], lab("d", "198.51.100.0/24")), [active]);

    // Those that wait for people; who has an end leaves the place.
    let mut world = by_people(limits);
    let all = ask_for(&mut world, &["a", "b", "c", "d"], json!({}));
    assert_eq!(all, [waiting.clone(), waiting.clone(), waiting.clone(), too_many.clone()]);
    for key in ["b", "c", "a"] {
        // Nobody agrees to what will be denied without knowing so.
        let is_denied =
            message(&world, key).contains(". Note that approved now it is denied: alice already has 2 grants");
        assert_eq!(is_denied, key == "a", "{}", message(&world, key));
        all_agree(&mut world, key);
        settle(&mut world);
    }
    let agreed: Vec<usize> = status(&world, "a").approvals.iter().map(|rule| rule.approved_by.len()).collect();
    assert_eq!(agreed, [1, 2], "those who agreed stay on record");
    assert_eq!((said(&world, "b").0, said(&world, "c").0), (GrantPhase::Active, GrantPhase::Active));
    assert_eq!(said(&world, "a"), too_many);
    world.now += SignedDuration::from_mins(10);
    settle(&mut world);
    assert_eq!(ask_for(&mut world, &["e"], json!({})), [waiting]);
}

/// Decided at the same time, before either is written, two do not both take the last place.
#[test]
fn the_last_place_is_taken_once() {
    let mut world = World { policy: policy(json!({"limits": {"active": 1}})), ..world() };
    for key in ["a", "b", "c"] {
        ask(&mut world, key, json!({}));
    }
    let plans = ["a", "b", "c"].map(|key| world.plan(key));
    let approved =
        plans.iter().filter(|plan| plan.status.as_ref().is_some_and(|status| status.phase == GrantPhase::Approved));
    assert_eq!(approved.count(), 1);
}

#[test]
fn who_approved_it_and_until_when_it_is_open_is_said_whatever_else_is() {
    let of = |world: &World, condition: &str| {
        let conditions = status(world, "eval").conditions;
        let said = conditions.into_iter().find(|said| said.type_ == condition).unwrap();
        (said.status, said.message)
    };
    let mut world = by_people(json!({}));
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    all_agree(&mut world, "eval");
    settle(&mut world);
    let (approved, end) = (status(&world, "eval").approved_at.unwrap().0, status(&world, "eval").expires_at.unwrap().0);
    let by = format!(" under AccessPolicy standard at {approved}");
    // Its credential is gone, and it lasts.
    world.credential = None;
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Active, "CredentialMissing".into(), true));
    assert!(message(&world, "eval").starts_with(&format!("it lasts until {end}, but there is no Secret weights in ")));
    assert_eq!(of(&world, "Active"), ("True".into(), format!("lasts until {end}")));
    let (is, said) = of(&world, "Approved");
    assert!(is == "True" && said.starts_with("approved by ") && said.ends_with(&by), "{said}");
    world.now = end;
    settle(&mut world);
    assert_eq!((of(&world, "Approved").1, of(&world, "Active").0), (said, "False".into()));

    let mut world = super::desk::world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    assert!(of(&world, "Approved").1.starts_with("approved automatically under AccessPolicy standard at "));
}
