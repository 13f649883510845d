//! How long a decision about a namespace with 50 rules takes: 25 of its own, all covered, and 25 of allowlists.

use cloister_api::{EgressAllowlist, EgressAllowlistSpec, ResearchNamespace, ResearchNamespaceSpec};
use cloister_core::{
    cluster::settings::Settings,
    model::{child::Children, plan::Action},
    namespace::{DeclaredNamespace, Input, KnownAllowlist, ObservedNamespace, PeerFound, plan},
};
use divan::Bencher;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;

const NAME: &str = "interp";

struct Snapshot {
    declared: ResearchNamespace,
    allowlists: BTreeMap<String, EgressAllowlist>,
    settings: Settings,
    namespace: Option<ObservedNamespace>,
    children: Children,
}

impl Snapshot {
    /// Five allowlists of five rules, each of which the namespace uses and covers five of its own rules with.
    fn new() -> Self {
        let network = |list: usize, rule: usize, prefix: u8| format!("203.{list}.{rule}.0/{prefix}");
        let rule = |name: String, network: String| {
            json!({
                "name": name, "networks": [network], "ports": [{"port": 443}, {"port": 8000, "endPort": 8010}],
                "podSelector": {"matchLabels": {"app": "loader"}},
            })
        };
        let allowlists = (0..5).map(|list| {
            let rules: Vec<_> = (0..5).map(|at| rule(format!("rule-{at}"), network(list, at, 24))).collect();
            let spec: EgressAllowlistSpec = read(json!({"namespaceSelector": {}, "rules": rules}));
            (format!("list-{list}"), EgressAllowlist::new(&format!("list-{list}"), spec))
        });
        let allowlists: BTreeMap<_, _> = allowlists.collect();
        let own = (0..25).map(|at| rule(format!("own-{at}"), network(at / 5, at % 5, 26)));
        let spec: ResearchNamespaceSpec = read(json!({
            "tier": "Standard",
            "members": [{"role": "Owner", "subjects": [{"kind": "Group", "name": "leads"}]},
                        {"role": "Researcher", "subjects": [{"kind": "User", "name": "alice"}, {"kind": "User", "name": "bob"}]}],
            "egress": {"allowlists": allowlists.keys().collect::<Vec<_>>(), "rules": own.collect::<Vec<_>>()},
            "quota": {"requests.cpu": "64", "requests.nvidia.com/gpu": "8"},
            "serviceAccounts": [{"name": "trainer"}],
        }));
        let (declared, children) = (ResearchNamespace::new(NAME, spec), Children::new());
        Snapshot { declared, allowlists, settings: Settings::new(None), namespace: None, children }
    }

    /// The same, with everything that a first plan wants.
    fn settled() -> Self {
        let mut snapshot = Snapshot::new();
        let first = snapshot.plan(&snapshot.known());
        snapshot.declared.status = first.status.clone();
        snapshot.declared.metadata.finalizers = Some(vec![cloister_api::labels::NAMESPACE_FINALIZER.to_owned()]);
        for action in first.actions() {
            match action {
                Action::Apply(child) => drop(snapshot.children.insert(child.key(), child.observe())),
                Action::ApplyNamespace(labels) => {
                    let labels = labels.iter().map(|(key, value)| ((*key).into(), value.as_str().into())).collect();
                    let (uid, adopt, terminating) = ("u".into(), None, false);
                    snapshot.namespace =
                        Some(ObservedNamespace { uid, labels, adopt, terminating, created: None, held_by: None });
                }
                _ => {}
            }
        }
        let open = snapshot.children.len();
        assert!(open > 50 && snapshot.plan(&snapshot.known()).is_empty(), "{open} children, and not at rest");
        snapshot
    }

    fn known(&self) -> BTreeMap<&str, KnownAllowlist<'_>> {
        self.allowlists.iter().map(|(name, allowlist)| (name.as_str(), KnownAllowlist::Read(allowlist))).collect()
    }

    fn plan(
        &self,
        allowlists: &BTreeMap<&str, KnownAllowlist<'_>>,
    ) -> cloister_core::model::plan::Plan<cloister_api::ResearchNamespaceStatus> {
        plan(&Input {
            name: NAME,
            declared: DeclaredNamespace::Read(&self.declared),
            settings: &self.settings,
            allowlists,
            granted: &[],
            endpoints: &[],
            peers: &|_| PeerFound::NotEnforced,
            is_namespace: &|_| true,
            pods_on_nodes: &|_, _| None,
            services: &|_| None,
            hosts: &|_| None,
            dns_addresses: &[[10, 96, 0, 10].into()],
            dns_ports: &[],
            namespace: self.namespace.as_ref(),
            children: &self.children,
            has_grant: &|_| false,
            inspection: None,
            pods: Some(10),
            open_grants: 0,
            owed_review: None,
            now: Timestamp::UNIX_EPOCH,
        })
    }
}

fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}"))
}

#[divan::bench]
fn steady_with_50_rules(bencher: Bencher<'_, '_>) {
    let snapshot = Snapshot::settled();
    let allowlists = snapshot.known();
    bencher.bench_local(|| snapshot.plan(&allowlists));
}

#[divan::bench]
fn new_with_50_rules(bencher: Bencher<'_, '_>) {
    let snapshot = Snapshot::new();
    let allowlists = snapshot.known();
    bencher.bench_local(|| snapshot.plan(&allowlists));
}

fn main() {
    divan::main();
}
