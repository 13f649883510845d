//! Arbitrary declarations, all of which the schemas admit.

use super::namespaces::{Allowlists, NAME, World, at};
use cloister_api::{CloisterConfigSpec, EgressAllowlist, ResearchNamespace, ResearchNamespaceSpec};
use cloister_core::{
    cluster::settings::Settings,
    egress::{Channel, Installed},
};
use proptest::{prelude::*, sample::subsequence};
use serde_json::{Value, json};

const ALLOWLISTS: [&str; 5] = ["always", "lab", "late", "other", "strange"];
const PEERS: [&str; 3] = ["data-prep", NAME, "scratch"];

fn some<T: Clone + std::fmt::Debug + 'static>(all: Vec<T>) -> impl Strategy<Value = Vec<T>> {
    let most = all.len();
    subsequence(all, 0..=most).prop_shuffle()
}

/// Rules of which some cover one another.
fn rules() -> Vec<Value> {
    let web = json!([{"port": 443}, {"port": 80, "endPort": 88, "protocol": "UDP"}]);
    vec![
        json!({"name": "lab", "networks": ["203.0.113.0/24", "198.51.100.0/25"], "ports": web}),
        json!({"name": "half", "networks": ["203.0.113.0/25"], "ports": [{"port": 443}]}),
        json!({"name": "sync", "networks": ["203.0.113.0/24"], "ports": web, "podSelector": {"matchLabels": {"app": "sync"}}}),
        json!({"name": "cache", "service": {"namespace": "infra", "name": "cache"}, "ports": [{"port": 80}]}),
        json!({"name": "gone", "service": {"namespace": "infra", "name": "gone"}, "ports": [{"port": 80}]}),
        json!({"name": "hosts", "domainNames": ["a.example.com", "b.example.com"], "ports": [{"port": 443}]}),
        json!({"name": "metadata", "networks": ["169.254.0.0/16"], "ports": [{"port": 80}]}),
        json!({"name": "six", "networks": ["2001:db8::/64"], "ports": [{"port": 22}], "podSelector": {
            "matchExpressions": [{"key": "app", "operator": "Exists"}]}}),
    ]
}

fn subjects() -> impl Strategy<Value = Vec<Value>> {
    let all = [("User", "alice"), ("User", "bob"), ("Group", "leads"), ("ServiceAccount", "trainer")];
    let all = all.map(|(kind, name)| json!({"kind": kind, "name": name})).to_vec();
    subsequence(all, 1..=4)
}

fn members() -> impl Strategy<Value = Vec<Value>> {
    let roles = some(vec!["Owner", "Researcher", "Viewer"]);
    (roles, prop::collection::vec(subjects(), 3)).prop_map(|(roles, subjects)| {
        roles.into_iter().zip(subjects).map(|(role, subjects)| json!({"role": role, "subjects": subjects})).collect()
    })
}

fn inside() -> impl Strategy<Value = Value> {
    let quota = some(vec![("requests.cpu", "1000m"), ("pods", "10"), ("limits.memory", "2048Mi")]);
    let limits = some(vec![
        json!({"type": "Container", "default": {"memory": "2Gi"}, "max": {"cpu": "4"}}),
        json!({"type": "Pod", "max": {"memory": "8Gi"}}),
    ]);
    let accounts = some(vec![
        json!({"name": "default"}),
        json!({"name": "trainer", "annotations": {"example.com/identity": "a", "example.com/b": ""}}),
        json!({"name": "eval"}),
    ]);
    let access = some(vec![
        json!({"podSelector": {}, "ports": [{"port": 8888}]}),
        json!({"podSelector": {"matchLabels": {"app": "notebook"}}, "ports": [{"port": 22, "endPort": 23}, {"port": 22, "protocol": "UDP"}]}),
    ]);
    (quota, limits, accounts, access).prop_map(|(quota, limits, accounts, access)| {
        let quota: serde_json::Map<_, _> = quota.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        json!({"quota": quota, "limitRange": limits, "serviceAccounts": accounts, "access": access})
    })
}

pub fn spec() -> impl Strategy<Value = ResearchNamespaceSpec> {
    let tier = prop::sample::select(vec!["Standard", "Standard", "Sandboxed"]);
    let egress = (some([&ALLOWLISTS[..], &["missing"]].concat()), some(rules()), some(PEERS.to_vec()));
    let deletion = prop::sample::select(vec!["Retain", "Delete"]);
    (tier, members(), egress, some(PEERS.to_vec()), inside(), deletion).prop_map(
        |(tier, members, (allowlists, rules, to), from, inside, deletion)| {
            let spec = json!({
                "tier": tier,
                "members": members,
                "egress": {"allowlists": allowlists, "rules": rules, "toResearchNamespaces": to},
                "ingress": {"fromResearchNamespaces": from, "fromAccessNetworks": inside["access"]},
                "quota": inside["quota"],
                "limitRange": inside["limitRange"],
                "serviceAccounts": inside["serviceAccounts"],
                "deletionPolicy": deletion,
            });
            serde_json::from_value(spec).unwrap()
        },
    )
}

/// A ResearchNamespace with one of two teams as its label.
pub fn declared() -> impl Strategy<Value = ResearchNamespace> {
    (spec(), prop::sample::select(vec!["interp", "evals"])).prop_map(|(spec, team)| {
        let mut declared = ResearchNamespace::new(NAME, spec);
        declared.metadata.generation = Some(1);
        declared.metadata.labels = Some([("team".to_owned(), team.to_owned())].into());
        declared
    })
}

fn allowlist() -> impl Strategy<Value = Option<EgressAllowlist>> {
    let selector = prop::sample::select(vec![
        json!({}),
        json!({"matchLabels": {"team": "interp"}}),
        json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["interp"]}]}),
        Value::Null,
    ]);
    let end = prop::option::of((-3_i64..8).prop_map(|step| at(step * 100).to_string()));
    let attach = prop::sample::select(vec!["OnRequest", "Always"]);
    let read = (selector, end, attach, some(rules())).prop_map(|(selector, end, attach, rules)| {
        let spec = json!({"namespaceSelector": selector, "expiresAt": end, "attach": attach, "rules": rules});
        Some(EgressAllowlist::new("", serde_json::from_value(spec).unwrap()))
    });
    prop_oneof![9 => read, 1 => Just(None)]
}

fn allowlists() -> impl Strategy<Value = Allowlists> {
    (subsequence(ALLOWLISTS.to_vec(), 0..=5), prop::collection::vec(allowlist(), 5))
        .prop_map(|(names, allowlists)| names.into_iter().map(str::to_owned).zip(allowlists).collect())
}

pub fn settings() -> impl Strategy<Value = Settings> {
    let networks = some(vec!["10.8.0.0/16", "2001:db8:8::/48"]);
    (networks, any::<bool>(), prop::bool::weighted(0.85), installed()).prop_map(
        |(access, cluster, usable, installed)| {
            let cluster: &[&str] = if cluster { &["198.51.100.0/24"] } else { &[] };
            let spec = json!({"accessNetworks": access, "clusterNetworks": cluster});
            let spec: CloisterConfigSpec = serde_json::from_value(spec).unwrap();
            Settings { usable, ..Settings::new(Some(&spec)).with(installed) }
        },
    )
}

/// What opens egress beside NetworkPolicies: mostly nothing.
fn installed() -> impl Strategy<Value = Installed> {
    let none = Installed::default();
    let cluster = |channel| Installed { cluster: Some(channel), ..none };
    prop_oneof![
        3 => Just(none),
        1 => Just(Installed { cilium: true, ..none }),
        1 => Just(cluster(Channel::Standard)),
        1 => Just(cluster(Channel::Experimental)),
    ]
}

/// A cluster in which nothing was done yet for a new ResearchNamespace.
pub fn world() -> impl Strategy<Value = World> {
    let peers = (subsequence(vec!["data-prep", "scratch"], 0..=2), prop::collection::vec(spec(), 2))
        .prop_map(|(names, specs)| names.into_iter().map(str::to_owned).zip(specs).collect());
    let addresses = some(vec!["10.96.0.10".parse().unwrap(), "fd12::10".parse().unwrap()]);
    (declared(), settings(), allowlists(), peers, addresses).prop_map(
        |(declared, settings, allowlists, peers, dns_addresses)| World {
            settings,
            allowlists,
            peers,
            dns_addresses,
            ..World::new(declared)
        },
    )
}
