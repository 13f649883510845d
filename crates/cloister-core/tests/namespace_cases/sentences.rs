//! What a namespace is told of its needs, as whole sentences.

use super::{allowlist, config, learn, need, settled, world};
use crate::namespaces::{World, at};
use cloister_api::{EgressState, Enforcement};
use cloister_core::{address::NeverOpened, dns, dns::KnownName};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

const ASK: &str = ", unless one waits already (`kubectl explain egressgrant.spec`), ask a catalogue administrator for an EgressAllowlist that covers it, or narrow the \
                   rule; `kubectl get egressallowlists` lists what there is";

pub(super) fn of_need(world: &World, name: &str) -> cloister_api::EgressStatus {
    let status = world.declared.as_ref().unwrap().status.clone().unwrap();
    status.egress.into_iter().find(|need| need.name == name).unwrap_or_else(|| panic!("no {name}"))
}

fn ready(world: &World) -> String {
    let status = world.declared.as_ref().unwrap().status.clone().unwrap();
    status.conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap().message
}

fn grant(world: &mut World, name: &str, rule: Value) {
    let mut all = json!({"name": name});
    all.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
    world.granted.insert(name.to_owned(), serde_json::from_value(all).unwrap());
}

fn with_rule(target: Value) -> World {
    let mut rule = json!({"name": "r"});
    rule.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
    world(json!({"egress": {"rules": [rule]}}))
}

fn networks(networks: &[&str], port: u16) -> Value {
    json!({"networks": networks, "ports": [{"port": port}]})
}

fn known(world: &World, address: &str) -> KnownName {
    let mut known = KnownName::default();
    learn(&mut known, &[address], world.now);
    known
}

#[test]
fn what_a_grant_has_not_opened_is_not_said_to_be_open() {
    let arxiv = json!({"domainNames": ["export.arxiv.org"], "ports": [{"port": 443}]});
    let mut world = with_rule(arxiv.clone());
    grant(&mut world, "byname", arxiv);
    let closed = settled(world.clone());
    assert_eq!(need(&closed, "rule/r"), (EgressState::Unresolved, "Resolving".into()));
    assert_eq!(
        of_need(&closed, "rule/r").message,
        "closed: the operator is resolving export.arxiv.org, which stays closed until there is an answer"
    );
    assert_eq!(closed.declared.as_ref().unwrap().status.as_ref().unwrap().egress_summary, "0/1");

    world.known.insert("export.arxiv.org".into(), known(&world, "198.51.100.7"));
    let open = of_need(&settled(world.clone()), "rule/r");
    assert_eq!((open.state, open.message.as_str()), (EgressState::Active, "covered by EgressGrant byname"));
    assert_eq!((open.enforcement, open.hosts.len()), (Some(Enforcement::AddressSet), 1));

    world.faults.insert("byname".into(), ("ApplyRefused", "the API server refused a NetworkPolicy"));
    let refused = of_need(&settled(world), "rule/r");
    assert_eq!((refused.state, refused.reason.as_str()), (EgressState::Unresolved, "ApplyRefused"));
    assert_eq!(
        refused.message,
        "closed: EgressGrant byname covers some of it, and does not open it: the API server refused a NetworkPolicy"
    );
}

#[test]
fn what_grants_have_open_beyond_the_declared_rules_has_an_entry() {
    let mut world = with_rule(networks(&["192.0.2.160/27"], 22));
    grant(&mut world, "part", networks(&["192.0.2.176/28"], 22));
    grant(&mut world, "p1", networks(&["192.0.2.128/26"], 22));
    let told = settled(world.clone());
    assert!(
        !told.declared.as_ref().unwrap().status.as_ref().unwrap().egress.iter().any(|need| need.name == "grant/part")
    );
    let beyond = of_need(&told, "grant/p1");
    assert_eq!((beyond.state, beyond.reason.as_str()), (EgressState::Active, "BeyondDeclared"));
    assert_eq!(
        beyond.message,
        "EgressGrant p1 opens 192.0.2.128/26:22 as far as its status says, and egress.rules does not declare all of it; it stays so \
         until the grant ends: revoke the grant if it is not needed (an AccessReview with the decision Revoke), or declare all of it"
    );
    // One that opens nothing has none.
    world.faults.insert("p1".into(), ("ApplyRefused", "the API server refused a NetworkPolicy"));
    assert!(!settled(world).declared.unwrap().status.unwrap().egress.iter().any(|need| need.name == "grant/p1"));
}

#[test]
fn an_allowlist_that_opens_too_much_is_open_by_a_grant_only_where_that_is_open() {
    let name = json!({"name": "wandb", "domainNames": ["storage.googleapis.com"], "ports": [{"port": 443}]});
    let mut world = world(json!({"egress": {"allowlists": ["lab"]}}));
    world.allowlists.insert("lab".into(), allowlist(json!({"rules": [name]})));
    grant(&mut world, "store", name);
    assert_eq!(need(&settled(world.clone()), "allowlist/lab"), (EgressState::Unresolved, "Resolving".into()));
    world.known.insert("storage.googleapis.com".into(), known(&world, "198.51.100.7"));
    assert_eq!(need(&settled(world), "allowlist/lab").0, EgressState::Active);
}

#[test]
fn who_opens_a_rule_is_named_and_nobody_else() {
    let mut world = with_rule(networks(&["192.0.2.128/25"], 22));
    grant(&mut world, "cov", networks(&["192.0.2.128/26"], 22));
    grant(&mut world, "other", networks(&["198.18.7.0/24"], 22));
    let half = of_need(&settled(world.clone()), "rule/r");
    assert_eq!((half.state, half.reason.as_str()), (EgressState::NeedsGrant, "PartlyCovered"));
    assert_eq!(
        half.message,
        format!(
            "partly open: no EgressAllowlist that this namespace may use, and no EgressGrant of it, covers \
             192.0.2.192/26 on TCP/22; the rest is covered by EgressGrant cov. Ask for an EgressGrant of what is missing{ASK}"
        )
    );
    let rest = json!({"rules": [{"name": "lab", "networks": ["192.0.2.192/26"], "ports": [{"port": 22}]}]});
    world.allowlists.insert("lab".into(), allowlist(rest));
    let all = of_need(&settled(world), "rule/r");
    assert_eq!(all.state, EgressState::Active);
    assert_eq!(all.message, "covered by EgressAllowlist lab and EgressGrant cov");
}

#[test]
fn what_is_cut_out_of_a_grant_is_said_of_the_rule_that_it_covers() {
    let mut world = with_rule(networks(&["169.254.0.0/15"], 22));
    grant(&mut world, "wide", networks(&["169.254.0.0/15"], 22));
    let open = of_need(&settled(world), "rule/r");
    assert_eq!(open.state, EgressState::Active);
    let said = "covered by EgressGrant wide; a part of it stays closed: 169.254.0.0/16 is never opened by address: ";
    assert!(open.message.starts_with(said), "{}", open.message);
}

#[test]
fn a_grant_for_some_pods_is_said_to_open_a_part() {
    let mut world = with_rule(networks(&["192.0.2.128/25"], 22));
    let mut some = networks(&["192.0.2.128/25"], 22);
    some["podSelector"] = json!({"matchLabels": {"app": "none"}});
    grant(&mut world, "some", some);
    assert_eq!(
        of_need(&settled(world), "rule/r").message,
        format!(
            "partly open: no EgressAllowlist that this namespace may use, and no EgressGrant of it, \
             covers 192.0.2.128/25 on TCP/22 (EgressGrant some covers some of it, but only for pods that its podSelector \
             matches; the podSelector of the rule may match other pods). Ask for an EgressGrant of what is missing{ASK}"
        )
    );
}

#[test]
fn an_allowlist_that_leads_there_on_another_port_is_named() {
    let pypi = |port: u16| json!({"domainNames": ["pypi.org"], "ports": [{"port": port}]});
    let mut rule = pypi(443);
    rule["name"] = json!("a");
    let mut world = with_rule(pypi(80));
    world.allowlists.insert("pypi".into(), allowlist(json!({"rules": [rule]})));
    assert_eq!(
        of_need(&settled(world), "rule/r").message,
        format!(
            "closed: no EgressAllowlist that this namespace may use, and no EgressGrant of it, covers pypi.org on TCP/80 \
             (EgressAllowlist pypi leads there on TCP/443 only). Ask for an EgressGrant of this rule{ASK}"
        )
    );
}

#[test]
fn nobody_is_sent_for_an_allowlist_that_would_open_nothing() {
    let said = |rule: Value| of_need(&settled(with_rule(rule)), "rule/r").message;
    let bucket = |names: &[&str]| json!({"domainNames": names, "ports": [{"port": 443}]});
    let why = "acme.s3.amazonaws.com is a name of S3 below amazonaws.com, where anybody can have storage; declare it as \
               privateEndpoint with private expectedNetworks, or request an EgressGrant for it";
    let none = "closed: no EgressAllowlist that this namespace may use, and no EgressGrant of it, covers";
    assert_eq!(
        said(bucket(&["acme.s3.amazonaws.com"])),
        format!("{none} acme.s3.amazonaws.com on TCP/443; no EgressAllowlist opens it: {why}")
    );
    assert_eq!(
        said(bucket(&["acme.s3.amazonaws.com", "pypi.org"])),
        format!(
            "{none} acme.s3.amazonaws.com, pypi.org on TCP/443. Ask for an EgressGrant of this rule{ASK}. No \
             EgressAllowlist opens this part of it: {why}"
        )
    );
    let wide = said(networks(&["12.0.0.0/8"], 443));
    assert!(wide.contains("; no EgressAllowlist opens it: 12.0.0.0/8 is wider than"), "{wide}");
    let many: Vec<String> = (0..20).map(|at| format!("203.{}.0.0/16", at * 2)).collect();
    let together = said(json!({"networks": many, "ports": [{"port": 443}]}));
    assert!(together.ends_with(ASK), "sixteen of them would be open: {together}");
}

#[test]
fn an_allowlist_that_has_the_name_in_another_form_is_named() {
    let name = "acmeweights.blob.core.windows.net";
    let private = |networks: &[&str]| json!({"privateEndpoint": {"domainName": name, "expectedNetworks": networks}, "ports": [{"port": 443}]});
    let mut own = private(&["10.40.7.0/24"]);
    own["name"] = json!("store");
    let public = json!({"domainNames": [name], "ports": [{"port": 443}]});
    let form = format!("EgressAllowlist lab has {name} as a privateEndpoint with expectedNetworks 10.40.7.0/24");
    let networks = format!("EgressAllowlist lab has {name} with expectedNetworks 10.40.7.0/24 only");
    let ask = format!(". Ask for an EgressGrant of this rule{ASK}");
    let storage = "; no EgressAllowlist opens it: ".to_owned();
    for (rule, near, rest, advice) in [
        (public, form, "", storage),
        (private(&["10.41.0.0/16"]), networks.clone(), "", ask.clone()),
        (private(&["10.40.0.0/16"]), networks, "; the rest is covered by EgressAllowlist lab", ask),
    ] {
        let mut world = with_rule(rule);
        world.allowlists.insert("lab".into(), allowlist(json!({"rules": [own]})));
        world.known.insert(name.into(), KnownName::default());
        let said = of_need(&settled(world), "rule/r").message;
        let nothing = format!(
            "closed: no EgressAllowlist that this namespace may use, and no EgressGrant of it, covers {name} on TCP/443 \
             ({near}){rest}{advice}"
        );
        assert!(said.starts_with(&nothing), "{said}");
    }
}

#[test]
fn like_sentences_about_ranges_are_one() {
    let ranges: Vec<String> = (0..40).map(|at| format!("20.{}.0.0/16", at * 2)).collect();
    let rule = json!({"name": "lab", "networks": ranges, "ports": [{"port": 443}]});
    let mut world = world(json!({"egress": {"allowlists": ["lab"]}}));
    world.allowlists.insert("lab".into(), allowlist(json!({"rules": [rule]})));
    let said = of_need(&settled(world), "allowlist/lab");
    assert_eq!((said.state, said.reason.as_str()), (EgressState::NeedsGrant, "TooBroad"));
    assert_eq!(
        said.message,
        "partly open: 20.0.0.0/16, 20.2.0.0/16, 20.4.0.0/16, 20.6.0.0/16, 20.8.0.0/16, 20.10.0.0/16, \
         20.12.0.0/16, 20.14.0.0/16 and 16 more and what else is open in this namespace add up to 40 public ranges; together, \
         EgressAllowlists may open at most 16 times a /16 or an IPv6 /32 (egress.maxPublicPrefix of CloisterConfig), where \
         adjacent ranges count as one; name fewer or narrower networks, or request an EgressGrant for it"
    );
}

#[test]
fn a_peer_that_is_not_there_is_told_from_one_that_has_not_agreed() {
    let mut world = world(json!({"egress": {"toResearchNamespaces": ["data-prp", "data-prep"]}}));
    world.peers.insert("data-prep".into(), super::spec(json!({})));
    let world = settled(world);
    assert_eq!(
        of_need(&world, "to/data-prp").message,
        "there is no ResearchNamespace data-prp; correct the name in egress.toResearchNamespaces, or ask a catalogue \
         administrator (ClusterRole cloister:catalogue-admin) to create it"
    );
    assert_eq!(
        of_need(&world, "to/data-prep").message,
        "ResearchNamespace data-prep does not name interp in ingress.fromResearchNamespaces; ask its owners to add it, or, where \
         it has none, a catalogue administrator (ClusterRole cloister:catalogue-admin)"
    );
    // What its owners cannot do they are not asked for.
    let mut closed = super::world(json!({"egress": {"toResearchNamespaces": ["data-prep"]}}));
    closed.unenforced.insert("data-prep".into());
    assert_eq!(
        of_need(&settled(closed), "to/data-prep").message,
        "ResearchNamespace data-prep is not enforced, or is being deleted, and nothing is open to or from it; if it is to \
         stay, ask its owners what its status says is missing, and to name interp in ingress.fromResearchNamespaces"
    );
}

#[test]
fn an_access_rule_that_opens_to_nothing_is_told() {
    let access = json!({"ingress": {"fromAccessNetworks": [{"podSelector": {}, "ports": [{"port": 8888}]}]}});
    let closed = settled(world(access.clone()));
    assert_eq!(need(&closed, "access/0"), (EgressState::Refused, "NoAccessNetworks".into()));
    assert_eq!(
        ready(&closed),
        "accessNetworks of CloisterConfig lists no network that people may come from, so ingress.fromAccessNetworks lets \
         nobody in; ask a policy administrator (ClusterRole cloister:policy-admin) to list the networks, or remove it"
    );
    let open = settled(World { settings: config(json!({"accessNetworks": ["10.8.0.0/16"]})), ..world(access) });
    assert_eq!(need(&open, "access/0"), (EgressState::Active, String::new()));
    assert_eq!(
        of_need(&open, "access/0").message,
        "open from accessNetworks of CloisterConfig to pods here ({} (all pods)), as soon as there are such pods"
    );
}

#[test]
fn a_member_account_that_is_not_declared_is_not_bound_and_told() {
    let subjects = json!([{"kind": "ServiceAccount", "name": "trainr"}, {"kind": "ServiceAccount", "name": "trainer"}, {"kind": "ServiceAccount", "name": "default"}]);
    let members = json!([{"role": "Researcher", "subjects": subjects}]);
    let world = settled(world(json!({"members": members, "serviceAccounts": [{"name": "trainer"}]})));
    assert_eq!(
        ready(&world),
        "ServiceAccount trainr is not bound: spec.serviceAccounts declares none of that name (did you mean trainer?); correct \
         it in spec.members (set the namespace field for a ServiceAccount of another namespace), or declare it"
    );
    let status = world.declared.as_ref().unwrap().status.as_ref().unwrap();
    let refused: Vec<&str> = status.refused.iter().map(|part| part.reason.as_str()).collect();
    assert_eq!(refused, ["MemberRefused"]);
}

#[test]
fn what_a_message_leaves_out_is_counted_and_stands_in_the_status() {
    let stranger = json!({"kind": "ServiceAccount", "namespace": "kuberay", "name": "x"});
    let account = json!({"name": "trainer", "annotations": {"example.com/a": "b"}});
    let rules: Vec<Value> = (0..4)
        .map(|at| json!({"name": format!("r{at}"), "networks": [format!("198.51.100.{at}/32")], "ports": [{"port": 443}]}))
        .collect();
    let declared = json!({
        "members": [{"role": "Viewer", "subjects": [stranger]}], "serviceAccounts": [account],
        "quota": {"secrets": "1", "count/secrets": "1"}, "egress": {"rules": rules},
    });
    let told = settled(world(declared));
    let said = ready(&told);
    assert!(said.ends_with(" (and 3 more, see status.refused); 0 of 4 entries are open, see status.egress"), "{said}");
    let status = told.declared.as_ref().unwrap().status.as_ref().unwrap();
    let refused: Vec<&str> = status.refused.iter().map(|part| part.reason.as_str()).collect();
    assert_eq!(refused, ["QuotaRefused", "QuotaRefused", "MemberRefused", "AnnotationRefused"]);

    let said = ready(&settled(world(json!({"egress": {"rules": rules}}))));
    assert!(
        said.starts_with("0 of 4 entries are open; rule/r0: ") && said.ends_with(" (and 3 more, see status.egress)"),
        "{said}"
    );
}

#[test]
fn every_closed_rule_of_an_allowlist_is_named_in_the_status() {
    let rules: Vec<Value> =
        (0..12).map(|at| json!({"name": format!("rule-{at}"), "networks": ["169.254.169.254/32"], "ports": [{"port": 443 + at}]})).collect();
    let mut world = world(json!({"egress": {"allowlists": ["lab"]}}));
    world.allowlists.insert("lab".into(), allowlist(json!({"rules": rules})));
    let message = of_need(&settled(world), "allowlist/lab").message;
    for at in 0..12 {
        assert!(message.contains(&format!("rule-{at}: ")), "rule-{at} is not in {message}");
    }

    let (names, addresses): (Vec<String>, Vec<String>) =
        (0..12).map(|at| (format!("*.n{at}.example.com"), format!("127.0.0.{at}/32"))).unzip();
    let names = of_need(&settled(with_rule(json!({"domainNames": names, "ports": [{"port": 443}]}))), "rule/r").message;
    let addresses =
        of_need(&settled(with_rule(json!({"networks": addresses, "ports": [{"port": 443}]}))), "rule/r").message;
    for at in 0..12 {
        assert!(
            names.contains(&format!("*.n{at}.example.com")) && addresses.contains(&format!("127.0.0.{at}/32")),
            "{names} {addresses}"
        );
    }
}

#[test]
fn a_deletion_says_what_is_left() {
    let mut ending = settled(world(json!({"deletionPolicy": "Delete"})));
    ending.declared.as_mut().unwrap().metadata.deletion_timestamp = Some(Time(at(0)));
    ending.namespace.as_mut().unwrap().terminating = true;
    for (pods, open_grants, reason, message) in [
        (Some(0), 0, "Deleting", "Namespace interp is being deleted"),
        (Some(0), 2, "WaitingForGrants", "waiting for 2 grants to be revoked"),
        (Some(1), 2, "WaitingForPods", "waiting for 1 pod and 2 grants to end"),
        (
            None,
            0,
            "WaitingForPods",
            "the operator has not listed pods yet, so the policies of Namespace interp stay; if this does not pass, give it the \
             permission (deploy/rbac)",
        ),
    ] {
        let status = World { pods, open_grants, ..ending.clone() }.plan().status.unwrap();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!((ready.reason.as_str(), ready.message.as_str()), (reason, message));
    }
}

#[test]
fn a_name_with_too_many_addresses_is_told_how_many_it_may_have() {
    let rule = json!({"name": "r", "domainNames": ["export.arxiv.org"], "ports": [{"port": 443}]});
    let mut world = world(json!({"egress": {"rules": [rule]}}));
    world.allowlists.insert("papers".into(), allowlist(json!({"rules": [rule]})));
    world.settings = config(json!({"dns": {"resolution": {"maximumAddresses": 2}}}));
    let mut known = KnownName::default();
    let addresses = ["198.51.100.7", "198.51.100.8", "198.51.100.9"];
    let records = addresses.map(|address| (address.parse().unwrap(), SignedDuration::from_secs(30)));
    let answer = dns::Answer::believed(records, dns::Where::Public, &NeverOpened::new(&[])).unwrap();
    known.learn(dns::Outcome::Answered(answer), world.now, &world.settings.names);
    world.known.insert("export.arxiv.org".into(), known);
    let world = settled(world);
    let why = "export.arxiv.org has had more than 2 addresses at a time (dns.resolution.maximumAddresses of CloisterConfig), and \
               stays closed until it has had no more than that for a while (dns.resolution.stale); name hosts behind it, or have \
               an allowlist open it by a network plugin that sees names (egress.backend of CloisterConfig)";
    assert_eq!(need(&world, "rule/r"), (EgressState::Unresolved, "TooManyAddresses".into()));
    assert_eq!(of_need(&world, "rule/r").message, format!("closed: {why}"));
    let conditions = world.declared.unwrap().status.unwrap().conditions;
    let stable = conditions.iter().find(|condition| condition.type_ == "ResolutionStable").unwrap();
    assert_eq!((stable.reason.as_str(), stable.message.as_str()), ("TooManyAddresses", why));
}
