//! What a ResearchNamespace is told in concrete cases, and what then stands.

mod adoption;
mod allowlists;
mod backends;
mod dns;
mod endings;
mod failed_writes;
mod families;
mod items;
#[path = "../common/namespaces.rs"]
mod namespaces;
#[path = "../common/objects.rs"]
mod objects;
mod sentences;
#[path = "../common/steps.rs"]
mod steps;
mod ways_in;

use cloister_api::{
    CloisterConfigSpec, EgressAllowlist, EgressState, ResearchNamespace, ResearchNamespaceSpec, ServiceReference,
    labels,
};
use cloister_core::{
    address::{NeverOpened, PolicyPortNumber},
    catalogue,
    cluster::settings::Settings,
    dns::{Answer, KnownName, Limits, Outcome, Rebinding, Where},
    egress::ServiceFacts,
    model::{
        child::{Child, ChildKey, ChildKind},
        plan::{Action, Chain},
    },
    namespace::ObservedNamespace,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{api::networking::v1::NetworkPolicy, apimachinery::pkg::apis::meta::v1::Time};
use namespaces::{NAME, OWED, World, at, deny_all, is_of_grant, opens};
use serde_json::{Value, json};

fn spec(spec: Value) -> ResearchNamespaceSpec {
    let mut all = json!({"tier": "Standard"});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

fn world(declared: Value) -> World {
    let mut declared = ResearchNamespace::new(NAME, spec(declared));
    declared.metadata.labels = Some([("team".to_owned(), "interp".to_owned())].into());
    World::new(declared)
}

fn allowlist(spec: Value) -> Option<EgressAllowlist> {
    let mut all = json!({"namespaceSelector": {}, "rules": [{"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 443}]}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    Some(EgressAllowlist::new("lab", serde_json::from_value(all).unwrap()))
}

fn config(spec: Value) -> Settings {
    let spec: CloisterConfigSpec = serde_json::from_value(spec).unwrap();
    Settings::new(Some(&spec))
}

fn settled(mut world: World) -> World {
    world.settle(&mut |_, _| ());
    world
}

/// Type, status and reason of each condition.
fn said(world: &World) -> Vec<(String, String, String)> {
    let status = world.declared.as_ref().unwrap().status.clone().unwrap_or_default();
    status.conditions.into_iter().map(|c| (c.type_, c.status, c.reason)).collect()
}

fn says(world: &World, type_: &str, status: &str, reason: &str) -> bool {
    said(world).contains(&(type_.into(), status.into(), reason.into()))
}

/// What is said of a need.
fn need(world: &World, name: &str) -> (EgressState, String) {
    let status = world.declared.as_ref().unwrap().status.clone().unwrap_or_default();
    let need = status.egress.into_iter().find(|need| need.name == name).unwrap_or_else(|| panic!("no {name}"));
    (need.state, need.reason)
}

fn policies(world: &World) -> Vec<&str> {
    world.names(ChildKind::NetworkPolicy).into_iter().filter(|name| !name.starts_with("cloister-grant.")).collect()
}

/// The networks that a policy opens.
fn blocks(world: &World, name: &str) -> Vec<String> {
    let Child::NetworkPolicy(policy) = &world.objects.0[&ChildKey::new(ChildKind::NetworkPolicy, name)] else {
        unreachable!()
    };
    let rules = policy.spec.as_ref().unwrap().egress.iter().flatten();
    let peers = rules.flat_map(|rule| rule.to.iter().flatten());
    peers.map(|peer| peer.ip_block.as_ref().unwrap().cidr.clone()).collect()
}

fn learn(known: &mut KnownName, addresses: &[&str], now: Timestamp) {
    let records = addresses.iter().map(|address| (address.parse().unwrap(), SignedDuration::from_secs(30)));
    let answer = Answer::believed(records, Where::Public, &NeverOpened::new(&[])).unwrap();
    known.learn(Outcome::Answered(answer), now, &Limits::default());
}

const CLOSED: [&str; 3] = ["cloister-deny-all", "cloister-dns", "cloister-own-pods"];

#[test]
fn a_namespace_that_declares_nothing_has_dns_and_its_own_pods() {
    let world = settled(world(json!({})));
    assert_eq!(policies(&world), CLOSED);
    assert!(says(&world, "Ready", "True", "Reconciled") && says(&world, "Enforced", "True", "Reconciled"));
    assert_eq!(world.names(ChildKind::ServiceAccount), ["default"]);
}

#[test]
fn a_new_namespace_is_sealed_until_all_stands() {
    let world = world(json!({"members": [{"role": "Owner", "subjects": [{"kind": "User", "name": "alice"}]}]}));
    let kind = |action: &Action| match action {
        Action::AddFinalizer => "finalizer".to_owned(),
        Action::ApplyNamespace(labels) if labels.contains_key(labels::ENFORCED) => "admit".to_owned(),
        Action::ApplyNamespace(_) => "seal".to_owned(),
        Action::Apply(child) => child.key().name.to_string(),
        action => panic!("{action:?}"),
    };
    let plan = world.plan();
    assert!(plan.close.is_empty());
    let of_stage = |stage: &Vec<Chain>| stage.iter().flat_map(Chain::actions).map(kind).collect();
    let mut stages: Vec<Vec<String>> = plan.open.iter().map(of_stage).collect();
    stages.extend(plan.last.iter().map(|last| vec![kind(&last.action)]));
    let rights = "cloister:owner:interp".to_owned();
    let opening =
        ["cloister-dns", "cloister-own-pods", "default", "cloister-owners", &rights].map(str::to_owned).to_vec();
    assert_eq!(
        stages,
        [
            vec!["finalizer".to_owned()],
            vec!["seal".into()],
            vec!["cloister-deny-all".into()],
            vec![rights],
            opening,
            vec!["admit".into()]
        ]
    );
    let first = plan.announce.unwrap().conditions.remove(0);
    assert_eq!((first.type_.as_str(), first.status.as_str()), ("Ready", "Unknown"));
}

#[test]
fn a_reserved_name_is_refused_and_closes_what_stands() {
    for reserved in [json!({"credentialNamespaces": [NAME]}), json!({"dns": {"namespace": NAME}})] {
        let mut fresh = world(json!({}));
        fresh.settings = config(reserved.clone());
        assert!(fresh.plan().does_nothing());
        assert!(says(&settled(fresh), "Stalled", "True", "NameReserved"));

        let mut standing = settled(world(json!({})));
        standing.settings = config(reserved);
        let standing = settled(standing);
        assert_eq!(policies(&standing), ["cloister-deny-all"]);
        assert!(!standing.is_enforced() && says(&standing, "Enforced", "False", "Sealed"));
    }
    for name in ["default", "kube-system", "kube-x", labels::SYSTEM_NAMESPACE] {
        assert!(Settings::new(None).reserved(name).is_some(), "{name}");
    }
    assert!(Settings::new(None).reserved("kubeflow").is_none());
}

fn namespace(labels: &[(&str, &str)], adopt: Option<&str>) -> Option<ObservedNamespace> {
    let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Some(ObservedNamespace {
        uid: "u".into(),
        labels,
        adopt: adopt.map(Into::into),
        terminating: false,
        created: None,
        held_by: None,
    })
}

#[test]
fn a_namespace_of_somebody_else_is_left_alone() {
    let mut world = world(json!({}));
    world.namespace = namespace(&[], None);
    let plan = world.plan();
    assert!(plan.does_nothing());
    let status = plan.status.unwrap();
    assert_eq!(status.conditions[0].reason, "NamespaceExists");
    assert!(status.conditions[0].message.contains("kubectl annotate namespace interp cloister.dev/adopt=interp"));
    world.namespace = namespace(&[], Some("interpp"));
    assert_eq!(
        world.plan().status.unwrap().conditions[0].message,
        "a Namespace interp exists already; its annotation cloister.dev/adopt says \"interpp\", which is another name; choose \
         another name, or, if its content is meant to become this research namespace, ask a cluster administrator to run: kubectl annotate --overwrite \
         namespace interp cloister.dev/adopt=interp"
    );

    world.namespace = namespace(&[], Some(NAME));
    world.objects.0.retain(|_, _| false);
    let mut theirs = cloister_core::policies::network_policies::own_pods(NAME);
    theirs.metadata.labels = None;
    let theirs = Child::NetworkPolicy(theirs);
    world.objects.apply(&theirs).unwrap();
    // It is closed, looked at, and left as it is.
    let before = world.objects.observe();
    world.settle(&mut |_, action| assert!(matches!(action, None | Some(Action::MarkAdopting(Some(_))))));
    assert!(says(&world, "Ready", "False", "ForeignObjects"));
    assert_eq!(world.objects.observe(), before);
}

#[test]
fn the_label_of_somebody_else_admits_no_pod_before_all_is_denied() {
    for labels in [&[(labels::ENFORCED, "true")][..], &[(labels::ENFORCED, "true"), (labels::RESEARCH_NAMESPACE, NAME)]]
    {
        let mut world = world(json!({}));
        world.namespace = namespace(labels, Some(NAME));
        world.objects.0.clear();
        let mut sealed = false;
        world.settle(&mut |world, action| {
            assert!(!sealed || world.deny_stands() || !world.is_enforced());
            sealed |= matches!(action, Some(Action::ApplyNamespace(_)));
        });
        assert!(world.is_enforced() && world.deny_stands());
    }
}

#[test]
fn a_deny_policy_that_somebody_deletes_is_made_again_in_a_sealed_namespace() {
    let mut world = settled(world(json!({})));
    assert!(world.objects.delete(&deny_all()).is_err(), "it is held");
    world.settle(&mut |world, _| assert!(world.deny_stands() || !world.is_enforced()));
    assert!(world.is_enforced() && !world.objects.observe()[&deny_all()].terminating);
}

#[test]
fn without_its_runtime_class_a_sandboxed_namespace_admits_no_pod() {
    let without = || config(json!({"runtimeClasses": {}}));
    let sandboxed = || world(json!({"tier": "Sandboxed"}));
    let mut fresh = World { settings: without(), ..sandboxed() };
    assert!(fresh.plan().does_nothing());
    fresh = settled(fresh);
    assert!(fresh.namespace.is_none() && says(&fresh, "Stalled", "True", "RuntimeClassMissing"));

    let standing = settled(sandboxed());
    assert_eq!(standing.namespace.as_ref().unwrap().labels[labels::RUNTIME_CLASS], "gvisor".into());
    let standing = settled(World { settings: without(), ..standing });
    assert!(!standing.is_enforced() && standing.deny_stands());
    assert!(says(&standing, "Ready", "False", "RuntimeClassMissing"));
}

#[test]
fn an_allowlist_opens_only_where_it_is_there_allowed_and_in_force() {
    let cases = [
        ("AllowlistNotFound", None),
        ("AllowlistUndecodable", Some(None)),
        ("AllowlistNotAllowed", Some(allowlist(json!({"namespaceSelector": null})))),
        ("AllowlistNotAllowed", Some(allowlist(json!({"namespaceSelector": {"matchLabels": {"team": "other"}}})))),
        // From before the schema refused it: by what owners may write, nothing is selected, not even by its absence.
        (
            "AllowlistNotAllowed",
            Some(allowlist(json!({"namespaceSelector": {
                "matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "DoesNotExist"}],
            }}))),
        ),
        ("AllowlistExpired", Some(allowlist(json!({"expiresAt": at(0).to_string()})))),
    ];
    for (reason, known) in cases {
        let mut world = world(json!({"egress": {"allowlists": ["lab"]}}));
        world.allowlists.extend(known.map(|known| ("lab".to_owned(), known)));
        let world = settled(world);
        assert_eq!(need(&world, "allowlist/lab"), (EgressState::Refused, reason.to_owned()));
        assert!(says(&world, "Ready", "False", "EgressRefused") && says(&world, "Enforced", "True", "Reconciled"));
        assert_eq!(policies(&world), CLOSED, "{reason}");
    }
    let mut world = world(json!({"egress": {"allowlists": ["lab"]}}));
    world.allowlists.insert("lab".into(), allowlist(json!({"expiresAt": at(60).to_string()})));
    assert_eq!(world.plan().next, Some(at(60)));
    let mut world = settled(world);
    assert_eq!(need(&world, "allowlist/lab"), (EgressState::Active, String::new()));
    assert!(policies(&world).contains(&"cloister-allow.lab.lab"));
    world.now = at(60);
    assert_eq!(policies(&settled(world)), CLOSED);
}

#[test]
fn an_allowlist_that_nobody_here_named_and_that_has_ended_is_no_mistake_of_the_namespace() {
    for (named, ready) in [(json!([]), ("True", "Reconciled")), (json!(["lab"]), ("False", "EgressRefused"))] {
        let mut world = world(json!({"egress": {"allowlists": named}}));
        world.allowlists.insert("lab".into(), allowlist(json!({"attach": "Always", "expiresAt": at(0).to_string()})));
        let world = settled(world);
        assert!(says(&world, "Ready", ready.0, ready.1), "{named}");
        assert_eq!(need(&world, "allowlist/lab"), (EgressState::Refused, "AllowlistExpired".to_owned()));
        let states = &world.declared.as_ref().unwrap().status.as_ref().unwrap().egress;
        let or_else = if ready.0 == "True" { "or to delete it" } else { "or remove it from egress.allowlists" };
        assert!(states[0].message.ends_with(&format!("to renew it, {or_else}")), "{}", states[0].message);
        assert_eq!(policies(&world), CLOSED);
    }
}

#[test]
fn an_allowlist_that_is_always_attached_needs_no_request() {
    let mut open = world(json!({}));
    open.allowlists.insert("lab".into(), allowlist(json!({"attach": "Always"})));
    let mut closed = world(json!({}));
    closed.allowlists.insert("lab".into(), allowlist(json!({"attach": "OnRequest"})));
    let mut other = world(json!({}));
    let selector = json!({"matchLabels": {"team": "other"}});
    other.allowlists.insert("lab".into(), allowlist(json!({"attach": "Always", "namespaceSelector": selector})));
    assert!(policies(&settled(open)).contains(&"cloister-allow.lab.lab"));
    assert_eq!((policies(&settled(closed)), policies(&settled(other))), (CLOSED.to_vec(), CLOSED.to_vec()));
}

#[test]
fn a_peer_opens_where_both_sides_agree() {
    let declared =
        json!({"egress": {"toResearchNamespaces": ["prep", NAME]}, "ingress": {"fromResearchNamespaces": ["prep"]}});
    let mut world = settled(world(declared));
    assert_eq!(need(&world, "to/prep"), (EgressState::Refused, "PeerNotFound".to_owned()));
    assert_eq!(need(&world, "from/prep"), (EgressState::Refused, "PeerNotFound".to_owned()));
    assert!(says(&world, "Ready", "True", "Reconciled"), "a tool that waits must not hang");
    world.peers.insert("prep".into(), spec(json!({"ingress": {"fromResearchNamespaces": [NAME]}})));
    let world = settled(world);
    assert_eq!(need(&world, "to/prep").0, EgressState::Active);
    assert_eq!(need(&world, "from/prep"), (EgressState::Unresolved, "PeerHasNotAgreed".to_owned()));
    assert!(policies(&world).contains(&"cloister-to.prep") && !policies(&world).contains(&"cloister-from.prep"));
}

#[test]
fn a_rule_by_name_opens_at_the_addresses_of_the_name() {
    let rule = json!({"name": "r", "domainNames": ["export.arxiv.org"], "ports": [{"port": 443}]});
    let all = json!({"name": "all", "domainNames": ["*.arxiv.org"], "ports": [{"port": 443}]});
    let mut world = world(json!({"egress": {"rules": [rule]}}));
    let closed = settled(world.clone());
    assert_eq!(need(&closed, "rule/r"), (EgressState::NeedsGrant, "NotCovered".to_owned()));

    world.allowlists.insert("papers".into(), allowlist(json!({"rules": [all]})));
    let asked = settled(world.clone());
    assert_eq!(need(&asked, "rule/r"), (EgressState::Unresolved, "Resolving".to_owned()));
    assert!(says(&asked, "Ready", "True", "Reconciled") && says(&asked, "ResolutionStable", "Unknown", "Progressing"));
    assert_eq!(blocks(&asked, "cloister-rule.r.0"), Vec::<String>::new());

    let mut known = KnownName::default();
    learn(&mut known, &["198.51.100.7", "2001:db8::7"], world.now);
    world.known.insert("export.arxiv.org".into(), known.clone());
    let mut open = settled(world.clone());
    assert_eq!(need(&open, "rule/r"), (EgressState::Active, "Covered".to_owned()));
    assert_eq!(blocks(&open, "cloister-rule.r.0"), ["198.51.100.7/32", "2001:db8::7/128"]);
    assert!(says(&open, "ResolutionStable", "True", "Resolved"));

    // An answer that says the same is nothing to write about; an address that went is, once its time is over.
    open.now += SignedDuration::from_secs(30);
    learn(&mut known, &["198.51.100.7"], open.now);
    open.known.insert("export.arxiv.org".into(), known.clone());
    assert!(open.plan().is_empty(), "{:?}", open.plan());
    open.now = open.plan().next.unwrap();
    open = settled(open);
    assert_eq!(blocks(&open, "cloister-rule.r.0"), ["198.51.100.7/32"]);

    let astray = Rebinding::NotPublic("10.0.0.1".parse().unwrap());
    known.learn(Outcome::Refused(astray), open.now, &open.settings.names);
    open.known.insert("export.arxiv.org".into(), known);
    open = settled(open);
    assert_eq!(need(&open, "rule/r"), (EgressState::Unresolved, "Rebinding".to_owned()));
    assert_eq!(blocks(&open, "cloister-rule.r.0"), Vec::<String>::new());
    assert!(says(&open, "ResolutionStable", "False", "Rebinding"));
}

/// A tool that waits gives up where an object is Stalled, and an allowlist of the same commit may be seen after it.
#[test]
fn a_mistake_of_a_namespace_that_was_just_made_is_told_and_is_not_final() {
    let mut world = world(json!({"egress": {"allowlists": ["lab"]}}));
    world.now = at(0);
    let metadata = &mut world.declared.as_mut().unwrap().metadata;
    metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(-1)));
    let mut world = settled(world);
    assert!(says(&world, "Ready", "False", "EgressRefused") && !says(&world, "Stalled", "True", "EgressRefused"));
    assert_eq!(need(&world, "allowlist/lab"), (EgressState::Refused, "AllowlistNotFound".to_owned()));
    assert_eq!(world.plan().next, Some(at(9)));
    world.now = at(9);
    assert!(says(&settled(world), "Stalled", "True", "EgressRefused"));
}

#[test]
fn a_rule_that_cannot_be_opened_is_a_mistake() {
    let rule = |target: &str, value: Value| json!({"name": "r", target: value, "ports": [{"port": 443}]});
    let world_of = |rule: Value| settled(world(json!({"egress": {"rules": [rule]}})));
    let mistaken = world_of(rule("networks", json!(["169.254.169.254/32"])));
    assert_eq!(need(&mistaken, "rule/r"), (EgressState::Refused, "NetworksNeverOpened".to_owned()));
    assert!(says(&mistaken, "Ready", "False", "EgressRefused") && says(&mistaken, "Stalled", "True", "EgressRefused"));

    let uncovered = world_of(rule("networks", json!(["203.0.113.0/24"])));
    assert_eq!(need(&uncovered, "rule/r"), (EgressState::NeedsGrant, "NotCovered".to_owned()));
    assert!(says(&uncovered, "Ready", "True", "Reconciled"));
}

#[test]
fn a_rule_that_a_grant_opens_needs_none_while_it_lasts() {
    let rule = |network: &str| json!({"name": "lab", "networks": [network], "ports": [{"port": 443}]});
    let mut world = settled(world(json!({"egress": {"rules": [rule("203.0.113.0/25")]}})));
    let needs = (EgressState::NeedsGrant, "NotCovered".to_owned());
    assert_eq!(need(&world, "rule/lab"), needs);
    world.granted.insert("lab".into(), serde_json::from_value(rule("203.0.113.0/24")).unwrap());
    world = settled(world);
    assert_eq!(need(&world, "rule/lab"), (EgressState::Active, "Covered".to_owned()));
    assert_eq!(policies(&world), CLOSED, "what a grant opens is its own matter");
    world.granted.insert("lab".into(), serde_json::from_value(rule("203.0.113.0/26")).unwrap());
    assert_eq!(need(&settled(world.clone()), "rule/lab").0, EgressState::NeedsGrant, "half of it is not all");
    world.granted.clear();
    assert_eq!(need(&settled(world), "rule/lab"), needs);
}

#[test]
fn settings_that_cannot_be_used_close_everything_but_the_namespace_stands() {
    let declared = json!({"egress": {"allowlists": ["lab"]}, "ingress": {"fromAccessNetworks": [{"podSelector": {}, "ports": [{"port": 1}]}]}});
    for unusable in [
        Settings::unreadable(),
        config(json!({"clusterNetworks": ["x"]})),
        config(json!({"dns": {"podSelector": {"matchLabels": {"a b": ""}}}})),
    ] {
        let mut world = world(declared.clone());
        world.settings = config(json!({"accessNetworks": ["10.8.0.0/16"]}));
        world.allowlists.insert("lab".into(), allowlist(json!({})));
        let mut world = settled(world);
        assert_eq!(policies(&world).len(), 5);
        world.settings = unusable;
        let world = settled(world);
        assert_eq!(policies(&world), ["cloister-deny-all"]);
        assert!(world.is_enforced() && says(&world, "Stalled", "True", "ConfigUndecodable"));
    }
}

#[test]
fn selectors_are_written_as_they_are_read_back() {
    let exists = json!({"matchLabels": {}, "matchExpressions": [{"key": "app", "operator": "Exists", "values": []}]});
    let access = |selector: &Value| json!({"ingress": {"fromAccessNetworks": [{"podSelector": selector, "ports": [{"port": 8888}]}]}});
    let settings = config(json!({"accessNetworks": ["10.8.0.0/16"], "dns": {"podSelector": exists}}));
    let world_of = |selector: &Value| settled(World { settings: settings.clone(), ..world(access(selector)) });
    let open = world_of(&exists);
    assert!(open.is_enforced() && policies(&open).contains(&"cloister-access.0"));
    let refused = world_of(&json!({"matchLabels": {"a b": "c"}}));
    assert!(refused.is_enforced() && !policies(&refused).contains(&"cloister-access.0"));
    assert!(says(&refused, "Ready", "False", "EgressRefused"));
}

#[test]
fn a_policy_of_somebody_else_that_allows_something_is_told_of_and_removed_where_that_is_wanted() {
    let mut world = settled(world(json!({})));
    let foreign = |egress: Value| -> NetworkPolicy {
        serde_json::from_value(json!({
            "metadata": {"name": "widen", "namespace": NAME},
            "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": egress},
        }))
        .unwrap()
    };
    let key = ChildKey::new(ChildKind::NetworkPolicy, "widen");
    world.objects.0.insert(key.clone(), Child::NetworkPolicy(foreign(json!([]))));
    assert!(world.plan().is_empty(), "one that allows nothing widens nothing");

    world.objects.0.insert(key.clone(), Child::NetworkPolicy(foreign(json!([{}]))));
    let mut world = settled(world);
    assert!(says(&world, "Enforced", "False", "DenyDefeated") && says(&world, "Ready", "False", "DenyDefeated"));
    assert_eq!(world.declared.as_ref().unwrap().status.as_ref().unwrap().deny_defeated_by, ["widen"]);
    assert!(world.objects.0.contains_key(&key));

    world.settings = config(json!({"egress": {"removeForeignPolicies": true}}));
    let world = settled(world);
    assert!(!world.objects.0.contains_key(&key));
    assert!(says(&world, "Enforced", "True", "Reconciled") && says(&world, "Ready", "True", "Reconciled"));
}

#[test]
fn what_opens_too_much_needs_a_grant_whatever_allowlist_it_is_from() {
    let rules = json!([
        {"name": "half", "networks": ["12.0.0.0/8"], "ports": [{"port": 443}]},
        {"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 443}]},
    ]);
    let mut world = world(json!({"egress": {"allowlists": ["wide"]}}));
    world.allowlists.insert("wide".into(), allowlist(json!({"rules": rules})));
    let mut world = settled(world);
    assert_eq!(need(&world, "allowlist/wide"), (EgressState::NeedsGrant, "TooBroad".to_owned()));
    assert!(policies(&world).contains(&"cloister-allow.wide.lab"));
    assert!(!policies(&world).contains(&"cloister-allow.wide.half"));
    assert!(says(&world, "Ready", "True", "Reconciled"));

    // A grant of the rule opens it by a policy of its own.
    let half = json!({"name": "half", "networks": ["12.0.0.0/8"], "ports": [{"port": 443}]});
    world.granted.insert("half".into(), serde_json::from_value(half).unwrap());
    let world = settled(world);
    assert_eq!(need(&world, "allowlist/wide").0, EgressState::Active);
    assert!(!policies(&world).contains(&"cloister-allow.wide.half"));
}

#[test]
fn no_quota_stands_against_what_the_operator_writes() {
    let quota = json!({"requests.cpu": "4", "count/secrets": "0", "count/networkpolicies.networking.k8s.io": "0", "secrets": "1"});
    let mut world = settled(world(json!({"quota": quota})));
    assert!(says(&world, "Stalled", "True", "QuotaRefused") && world.is_enforced());
    let key = ChildKey::new(ChildKind::ResourceQuota, labels::MANAGER);
    let Child::ResourceQuota(quota) = &world.objects.0[&key] else { unreachable!() };
    let hard = quota.spec.as_ref().unwrap().hard.as_ref().unwrap();
    assert_eq!(hard.keys().collect::<Vec<_>>(), ["requests.cpu"]);

    // What was written before such keys were left out goes before the policy that denies is made again.
    world.objects.0.remove(&deny_all());
    world.declared.as_mut().unwrap().metadata.deletion_timestamp = Some(Time(at(0)));
    let plan = world.plan();
    let chain = plan.close.iter().find(|chain| chain.actions().any(|action| *action == Action::Delete(key.clone())));
    let last = chain.expect("the quota goes").actions().last();
    assert!(matches!(last, Some(Action::Apply(child)) if child.key() == deny_all()), "{chain:?}");
}

#[test]
fn networks_that_come_to_everything_open_nothing_and_are_named() {
    let access = json!({"ingress": {"fromAccessNetworks": [{"podSelector": {}, "ports": [{"port": 8888}]}]}});
    let mut world = world(access);
    world.settings = config(json!({"accessNetworks": ["10.8.0.0/16"]}));
    world = settled(world);
    assert!(policies(&world).contains(&"cloister-access.0"));
    for everything in [json!(["0.0.0.0/0"]), json!(["10.8.0.0/16", "0.0.0.0/1", "128.0.0.0/1"]), json!(["::/0"])] {
        world.settings = config(json!({"accessNetworks": everything}));
        assert!(world.settings.refused.as_ref().is_some_and(|why| why.contains("spec.accessNetworks")));
        let closed = settled(world.clone());
        assert!(!policies(&closed).contains(&"cloister-access.0") && closed.is_enforced());
        assert_eq!(need(&closed, "access/0"), (EgressState::Refused, "NoAccessNetworks".to_owned()));
    }
}

#[test]
fn a_deletion_waits_for_a_review_while_it_can_be_made_and_no_longer() {
    let mut world = settled(world(json!({"deletionPolicy": "Delete"})));
    world.declared.as_mut().unwrap().metadata.deletion_timestamp = Some(Time(at(0)));
    world.owed_review = Some(at(60));
    world = settled(world);
    assert!(says(&world, "Ready", "False", "WaitingForReview") && !world.is_enforced());
    let said = &world.declared.as_ref().unwrap().status.as_ref().unwrap().conditions[0].message;
    assert_eq!(
        *said,
        format!(
            "closed; nobody has reviewed the break-glass grant RoleGrant eval of alice yet: {OWED}. At {} the Namespace is \
             deleted without the review",
            at(60)
        )
    );
    assert_eq!(world.plan().next, Some(at(60)));
    world.now = at(60);
    world = settled(world);
    assert!(world.namespace.is_none() && world.declared.is_none());
}

/// Whoever may change a Service does not lead a rule elsewhere by it, which security agreed to as it was.
#[test]
fn an_allowlist_does_not_follow_a_service_that_is_changed() {
    let rule = json!({"name": "cache", "service": {"namespace": "infra", "name": "cache"}, "ports": [{"port": 80}]});
    let as_it_is = |reference: &ServiceReference| objects::service(reference);
    let changes: [fn(&mut ServiceFacts); 3] = [
        |facts| facts.uid = "another".into(),
        |facts| facts.selector = [("app".to_owned(), "other".to_owned())].into(),
        |facts| facts.ports[0].target = PolicyPortNumber::Number(22),
    ];
    for change in changes {
        let changed = |reference: &ServiceReference| {
            let mut facts = objects::service(reference)?;
            change(&mut facts);
            Some(facts)
        };
        let mut list = allowlist(json!({"rules": [rule]})).unwrap();
        list.metadata.generation = Some(1);
        let ready = |list: &EgressAllowlist, services: &dyn Fn(&ServiceReference) -> Option<ServiceFacts>| {
            let users = catalogue::Users { names: vec![NAME], in_whole: 1, ..Default::default() };
            let settings = Settings::new(None);
            let said = catalogue::allowlist(list, &users, services, &settings, at(0));
            let status = said.or(list.status.clone()).unwrap();
            (status.conditions[0].reason.clone(), status)
        };
        // Published while the Service was another: what it is now was not agreed to.
        let (reason, status) = ready(&list, &changed);
        assert_eq!((reason.as_str(), status.services.len()), ("Reconciled", 1));
        list.status = Some(status);
        let (reason, status) = ready(&list, &as_it_is);
        assert_eq!(reason, "ServiceChanged");
        list.status = Some(status);
        let mut world = world(json!({"egress": {"allowlists": ["lab"], "rules": [rule]}}));
        world.allowlists.insert("lab".into(), Some(list.clone()));
        let mut world = settled(world);
        assert_eq!(need(&world, "allowlist/lab"), (EgressState::Refused, "ServiceChanged".into()));
        assert_eq!(need(&world, "rule/cache").0, EgressState::NeedsGrant);
        assert_eq!(policies(&world), CLOSED);
        // Published anew, it is as it is.
        list.metadata.generation = Some(2);
        let (reason, status) = ready(&list, &as_it_is);
        assert_eq!(reason, "Reconciled");
        list.status = Some(status);
        assert_eq!(ready(&list, &changed).0, "ServiceChanged");
        world.allowlists.insert("lab".into(), Some(list));
        let world = settled(world);
        assert_eq!(need(&world, "allowlist/lab").0, EgressState::Active);
    }
}

/// A provisioner names a volume after the claim that it was made for.
#[test]
fn a_claim_brings_the_volume_that_was_made_for_it_and_no_other() {
    let listed = ["persistentVolume:shared".to_owned(), "storageClass:fast".to_owned()];
    let own = |volume: &str| cloister_core::namespace::has_own_volume("u-1", volume, &listed);
    assert!(own("pvc-u-1") && own("shared"));
    for other in ["", "pvc-", "pvc-u-2", "team-b-data", "fast", "u-1"] {
        assert!(!own(other), "{other:?}");
    }
    assert!(!cloister_core::namespace::has_own_volume("", "", &listed));
}
