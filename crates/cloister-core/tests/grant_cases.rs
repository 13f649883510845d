//! What a StorageAccessGrant is told in concrete cases, and what then stands.

mod common {
    pub mod grants;
    pub mod objects;
}

use cloister_api::{AccessPolicy, GrantPhase, StorageAccessGrant, StorageResource, labels};
use cloister_core::{
    grant::{Home, failed},
    plan::Action,
    settings::Settings,
};
use common::grants::{Pod, Shelf, World};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde_json::{Value, json};

fn merged(mut all: Value, more: Value) -> Value {
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

fn policy(more: Value) -> Shelf<AccessPolicy> {
    let spec = json!({
        "requesters": [{"kind": "Group", "name": "researchers"}, {"kind": "ServiceAccount", "namespace": "flux", "name": "sync"}],
        "autoApprove": ["true"], "maxDuration": "1h", "defaultDuration": "10m",
    });
    Shelf::Read(Box::new(AccessPolicy::new("standard", serde_json::from_value(merged(spec, more)).unwrap())))
}

fn storage(more: Value) -> Shelf<StorageResource> {
    let credential = json!({"secretRef": {"namespace": "cloister-credentials", "name": "weights"}});
    let role = json!({"name": "reader", "accessPolicy": "standard", "clusterRole": "cloister:storage-reader", "credential": credential});
    let spec = json!({"sensitivity": "Low", "roles": [role]});
    Shelf::Read(Box::new(StorageResource::new("weights", serde_json::from_value(merged(spec, more)).unwrap())))
}

fn world() -> World {
    match (storage(json!({})), policy(json!({}))) {
        (Shelf::Read(storage), Shelf::Read(policy)) => World::new(*storage, *policy),
        _ => unreachable!(),
    }
}

/// Asks in alice's name, unless it is said otherwise.
fn ask(world: &mut World, name: &str, more: Value) {
    let spec = json!({
        "storage": "weights", "role": "reader", "mount": {"serviceAccountName": "trainer", "mountPath": "/mnt/weights"},
        "subjects": [{"kind": "ServiceAccount", "name": "trainer"}],
        "requestedBy": {"username": "alice", "groups": ["researchers"]},
    });
    world.ask(name, &serde_json::from_value(merged(spec, more)).unwrap(), format!("uid-{name}"));
}

fn settle(world: &mut World) {
    for _ in 0..8 {
        for name in world.grants.keys().cloned().collect::<Vec<_>>() {
            let plan = world.plan(&name);
            world.carry_out(&name, &plan, usize::MAX, &mut |_, _, _| ());
        }
        world.environment();
    }
    assert!(world.grants.keys().all(|name| world.plan(name).is_empty()), "does not come to rest");
}

/// The phase, the reason, and whether it is stalled.
fn told(world: &World, name: &str) -> (GrantPhase, String, bool) {
    let status = world.grants[name].status.clone().unwrap_or_default();
    let stalled = status.conditions.iter().any(|c| c.type_ == "Stalled" && c.status == "True");
    assert!(
        status.conditions.iter().any(|c| c.type_ == "Ready" && (c.status == "False") == stalled)
            || status.phase == GrantPhase::Revoking
    );
    (status.phase, status.reason, stalled)
}

/// What a grant is told at once.
fn answer(mut world: World, request: Value) -> (GrantPhase, String, bool) {
    ask(&mut world, "eval", request);
    settle(&mut world);
    let told = told(&world, "eval");
    assert_eq!(!world.objects.0.is_empty(), told.0 == GrantPhase::Active);
    told
}

fn seconds(from: &World, seconds: i64) -> String {
    (from.now + SignedDuration::from_secs(seconds)).to_string()
}

#[test]
fn a_request_that_keeps_the_terms_opens_until_its_end() {
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Active, "Active".into(), false));
    let end = world.grants["eval"].status.as_ref().unwrap().expires_at.clone().unwrap().0;
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
        ("TicketMissing", json!({"ticket": {"required": true}}), json!({})),
        ("TicketMalformed", json!({"ticket": {"pattern": "^SEC-[0-9]+$"}}), json!({"ticketRef": "SEC-x"})),
        ("TicketMalformed", json!({"ticket": {"pattern": "("}}), json!({"ticketRef": "SEC-1"})),
        ("DurationTooLong", json!({}), json!({"requestedDuration": "61m"})),
        ("StartTooLate", json!({}), json!({"startTime": later})),
        ("StartTooLate", json!({"maxStartDelay": "1s"}), json!({"startTime": seconds(&base, 2)})),
        ("WindowPassed", json!({}), json!({"startTime": past})),
    ];
    for (reason, terms, request) in cases {
        let world = World { policy: policy(terms), ..world() };
        assert_eq!(answer(world, request), (GrantPhase::Denied, reason.to_owned(), false));
    }
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
        ("CredentialMissing", World { storage: storage(json!({"roles": elsewhere})), ..world() }),
        ("ConfigUndecodable", World { settings: Settings::unreadable(), ..world() }),
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
fn people_are_waited_for_until_the_time_is_up() {
    let people = json!([{"name": "security", "required": 2, "approvers": [{"kind": "Group", "name": "security"}]}]);
    let by_people = json!({"approvalRules": people, "autoApprove": [], "pendingRequestTTL": "5m"});
    let waiting = (GrantPhase::Pending, "AwaitingApproval".to_owned(), false);
    assert_eq!(answer(World { policy: policy(by_people.clone()), ..world() }, json!({})), waiting);
    assert_eq!(answer(World { policy: policy(json!({"autoApprove": []})), ..world() }, json!({})), waiting);
    for expression in ["false", "request.nothing", "1", "(", "request.requestedDuration == '601s'"] {
        let policy = policy(json!({"autoApprove": [expression]}));
        assert_eq!(answer(World { policy, ..world() }, json!({})), waiting, "{expression}");
    }
    let account = json!({"requestedBy": {"username": "system:serviceaccount:flux:sync", "groups": []}});
    assert_eq!(answer(world(), account), waiting, "no ServiceAccount is approved by itself");

    let mut world = World { policy: policy(by_people), ..world() };
    ask(&mut world, "eval", json!({}));
    assert_eq!(world.plan("eval").next, Some(world.now + SignedDuration::from_mins(5)));
    world.now += SignedDuration::from_mins(5);
    settle(&mut world);
    assert_eq!(told(&world, "eval").0, GrantPhase::TimedOut);
}

#[test]
fn one_credential_is_mounted_at_one_path() {
    let elsewhere = json!({"mount": {"serviceAccountName": "trainer", "mountPath": "/mnt/other"}});
    for start in [json!({}), json!({"startTime": seconds(&world(), 60)})] {
        let mut world = world();
        ask(&mut world, "first", start);
        settle(&mut world);
        ask(&mut world, "second", elsewhere.clone());
        settle(&mut world);
        assert_eq!(told(&world, "second"), (GrantPhase::Denied, "MountConflict".into(), false));
    }
}

#[test]
fn an_endpoint_by_name_stays_closed_and_the_rest_opens() {
    let endpoint = |endpoint: Value| storage(json!({"endpoint": merged(json!({"ports": [{"port": 443}]}), endpoint)}));
    let cases = [
        (json!({"domainNames": ["weights.example.com"]}), "HostsNotSupported", false),
        (
            json!({"privateEndpoint": {"domainName": "w.example.com", "expectedNetworks": ["10.0.0.0/8"]}}),
            "HostsNotSupported",
            false,
        ),
        (json!({"networks": ["169.254.169.254/32"]}), "NetworksNeverOpened", true),
        (json!({"service": {"namespace": "infra", "name": "gone"}}), "ServiceNotFound", true),
        (json!({"networks": ["203.0.113.0/24"]}), "Active", false),
    ];
    for (target, reason, stalled) in cases {
        let world = World { storage: endpoint(target), ..world() };
        assert_eq!(answer(world, json!({})), (GrantPhase::Active, reason.to_owned(), stalled));
    }
}

#[test]
fn an_open_grant_ends_with_what_it_was_decided_under() {
    let ends = |change: &dyn Fn(&mut World)| {
        let mut world = world();
        ask(&mut world, "eval", json!({}));
        settle(&mut world);
        change(&mut world);
        settle(&mut world);
        assert!(world.objects.0.is_empty() && world.secrets.is_empty());
        told(&world, "eval")
    };
    let revoked = |reason: &str| (GrantPhase::Revoked, reason.to_owned(), false);
    assert_eq!(ends(&|world| world.policy = Shelf::Absent), revoked("PolicyGone"));
    assert_eq!(ends(&|world| world.policy = Shelf::Undecodable), revoked("PolicyGone"));
    assert_eq!(ends(&|world| world.storage = Shelf::Absent), revoked("TargetGone"));
    assert_eq!(ends(&|world| world.home = Home::Closed), revoked("NamespaceClosed"));
    let forgotten = |world: &mut World| {
        world.grants.get_mut("eval").unwrap().status.as_mut().unwrap().expires_at = None;
    };
    assert_eq!(ends(&forgotten), revoked("EndUnknown"));
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
    let end = world.grants["eval"].status.as_ref().unwrap().expires_at.clone().unwrap().0;
    assert_eq!((told(&world, "eval").0, end), (GrantPhase::Active, world.now + SignedDuration::from_secs(70)));
}

/// A grant that is open, and a pod that holds its credential.
fn held() -> World {
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    let pod = Pod { secrets: world.secrets.clone(), terminating: false };
    world.pods.insert("train-0".into(), pod);
    world.now += SignedDuration::from_mins(10);
    world
}

#[test]
fn what_ends_is_taken_away_in_the_order_that_leaves_no_gap() {
    let kinds: Vec<&str> = held()
        .plan("eval")
        .stages
        .iter()
        .flatten()
        .map(|action| match action {
            Action::Apply(mount) if mount.observe().version.as_deref() == Some("") => "unmount",
            Action::Delete(key) => key.kind.as_str(),
            Action::DestroyCredential { .. } => "credential",
            Action::DeletePod { .. } => "pod",
            action => panic!("{action:?}"),
        })
        .collect();
    // The mount remembers the copy to the last.
    assert_eq!(kinds, ["unmount", "RoleBinding", "credential", "pod", "GrantMount"]);
}

#[test]
fn a_pod_that_does_not_end_leaves_the_revocation_unconfirmed() {
    let mut world = held();
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Revoking, "Expired".into(), false));
    world.now += SignedDuration::from_secs(60);
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Revoking, "Expired".into(), true));
    world.pods.clear();
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Expired, "Expired".into(), false));
}

#[test]
fn an_object_that_somebody_else_holds_is_not_said_to_be_gone() {
    let mut world = held();
    world.pods.clear();
    let keys: Vec<_> = world.objects.0.keys().cloned().collect();
    let hold = |metadata: &mut ObjectMeta| metadata.finalizers = Some(vec!["example.com/hold".into()]);
    keys.iter().for_each(|key| world.objects.edit(key, hold));
    settle(&mut world);
    assert_eq!(told(&world, "eval").0, GrantPhase::Revoking);
    assert!(world.secrets.is_empty(), "what is held does not hold up the rest");
    keys.iter().for_each(|key| world.objects.edit(key, |metadata| metadata.finalizers = None));
    settle(&mut world);
    assert_eq!(told(&world, "eval").0, GrantPhase::Expired);
}

#[test]
fn a_grant_that_ends_leaves_the_mount_to_the_one_that_shares_it() {
    let mut world = held();
    world.now -= SignedDuration::from_mins(5);
    ask(&mut world, "next", json!({}));
    settle(&mut world);
    world.now += SignedDuration::from_mins(5);
    settle(&mut world);
    assert_eq!((told(&world, "eval").0, told(&world, "next").0), (GrantPhase::Expired, GrantPhase::Active));
    assert!(world.has_mount("weights.reader.trainer") && !world.pods["train-0"].terminating);
    world.now += SignedDuration::from_mins(5);
    settle(&mut world);
    assert!(!world.has_mount("weights.reader.trainer") && world.pods["train-0"].terminating);
}

#[test]
fn a_grant_that_ends_leaves_nothing_to_one_whose_time_has_not_come() {
    let mut world = held();
    let start = seconds(&world, 60);
    world.now -= SignedDuration::from_mins(5);
    ask(&mut world, "next", json!({"startTime": start}));
    settle(&mut world);
    world.now += SignedDuration::from_mins(5);
    settle(&mut world);
    assert_eq!((told(&world, "eval").0, told(&world, "next").0), (GrantPhase::Revoking, GrantPhase::Approved));
    assert!(!world.has_mount("weights.reader.trainer") && world.pods["train-0"].terminating);
}

#[test]
fn the_last_to_share_a_credential_takes_it_away_though_its_role_had_none() {
    let mut world = held();
    world.now -= SignedDuration::from_mins(5);
    world.storage = storage(json!({"roles": [{"name": "reader", "accessPolicy": "standard"}]}));
    ask(&mut world, "next", json!({}));
    settle(&mut world);
    for left in [1, 0] {
        world.now += SignedDuration::from_mins(5);
        settle(&mut world);
        assert_eq!(world.secrets.len(), left);
    }
    assert_eq!(told(&world, "next").0, GrantPhase::Revoking);
}

#[test]
fn a_new_version_of_the_credential_is_copied() {
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    world.credential = Some(2);
    let plan = world.plan("eval");
    assert!(
        matches!(&plan.stages[..], [copy, mount] if matches!(copy[..], [Action::CopyCredential { .. }]) && mount.len() == 1)
    );
    settle(&mut world);
    world.credential = None;
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Active, "CredentialMissing".into(), true));
}

#[test]
fn a_grant_that_cannot_be_read_is_closed_and_can_be_deleted() {
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    world.undecodable.insert("eval".into());
    settle(&mut world);
    assert_eq!((world.children_of("eval"), told(&world, "eval").1), (0, "Undecodable".to_owned()));
    world.grants.get_mut("eval").unwrap().metadata.deletion_timestamp = Some(Time(world.now));
    settle(&mut world);
    assert!(world.grants.is_empty());
}

#[test]
fn what_a_grant_opens_belongs_to_it() {
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    for child in world.objects.0.values().filter(|child| child.observe().grant.is_some()) {
        let owners: Vec<OwnerReference> = child.metadata().owner_references.clone().unwrap();
        assert_eq!((owners[0].kind.as_str(), owners[0].uid.as_str()), ("StorageAccessGrant", "uid-eval"));
        assert_eq!(child.metadata().labels.as_ref().unwrap()[labels::MANAGED_BY], labels::MANAGER);
    }
}

#[test]
fn a_failure_is_said_and_a_failed_end_is_an_end() {
    let mut world = held();
    let status = failed(&world.grants["eval"], "no answer", world.now).unwrap();
    assert_eq!((status.phase, status.reason.as_str()), (GrantPhase::Revoking, "Expired"));
    let set = |grant: &mut StorageAccessGrant| grant.status = Some(status);
    set(world.grants.get_mut("eval").unwrap());
    world.pods.clear();
    settle(&mut world);
    assert_eq!(told(&world, "eval").0, GrantPhase::Expired);
}
