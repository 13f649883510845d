//! ClusterNetworkPolicies, on the API server by the definitions of the network-policy-api project.

use crate::place::{Place, ask};
use anyhow::{Context, Result, ensure};
use cloister_api::{EgressState, Enforcement, ResearchNamespace, plugin::ClusterNetworkPolicy};
use cloister_tests::{assert_denied, eventually};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

impl Place {
    async fn with_cluster_policies(&self, channel: &str) -> Result<String> {
        let folder = tokio::task::spawn_blocking(xtask::cluster::network_policy_api).await??;
        let file = format!("config/crd/{channel}/policy.networking.k8s.io_clusternetworkpolicies.yaml");
        self.install(&std::fs::read_to_string(folder.join(file))?).await
    }

    fn cluster_policies(&self) -> Api<ClusterNetworkPolicy> {
        self.scene.all()
    }

    /// What stands about the namespace, by name.
    async fn bound(&self) -> Result<Vec<ClusterNetworkPolicy>> {
        let all = self.cluster_policies().list(&ListParams::default()).await?;
        let prefix = format!("cloister.{}.", self.name);
        Ok(all.items.into_iter().filter(|policy| policy.name_any().starts_with(&prefix)).collect())
    }

    /// Waits until the last of them stands, which denies, and returns all.
    async fn until_bound(&self) -> Result<Vec<ClusterNetworkPolicy>> {
        let deny = format!("cloister.{}.deny", self.name);
        eventually("the bound to stand", async || {
            let all = self.bound().await?;
            ensure!(all.iter().any(|policy| policy.name_any() == deny), "there are {}", all.len());
            Ok(all)
        })
        .await
    }

    async fn until_unbound(&self) -> Result<()> {
        eventually("the bound to be gone", async || {
            let left: Vec<String> = self.bound().await?.iter().map(ResourceExt::name_any).collect();
            ensure!(left.is_empty(), "{left:?} are left");
            Ok(())
        })
        .await
    }
}

/// What becomes of a flow in the Admin tier: the action of the first rule that matches, by priority; `None` where none does.
/// A peer is what `is_meant` says it is.
fn decide(
    policies: &[ClusterNetworkPolicy],
    direction: &str,
    is_meant: impl Fn(&Value) -> bool,
    port: u64,
) -> Option<String> {
    let mut specs: Vec<&Value> = policies.iter().filter_map(|policy| policy.spec.as_ref()).collect();
    specs.sort_by_key(|spec| spec["priority"].as_u64());
    let peers = if direction == "egress" { "to" } else { "from" };
    let rules = specs.iter().flat_map(|spec| spec[direction].as_array().into_iter().flatten());
    let found = rules.filter(|rule| {
        let ports = rule["protocols"].as_array();
        let on_port = ports.is_none_or(|ports| {
            ports.iter().any(|protocol| {
                let port_of = &protocol["tcp"]["destinationPort"];
                let range = &port_of["range"];
                port_of["number"].as_u64() == Some(port)
                    || (range["start"].as_u64().is_some_and(|start| start <= port)
                        && range["end"].as_u64().is_some_and(|end| port <= end))
            })
        });
        on_port && rule[peers].as_array().into_iter().flatten().any(&is_meant)
    });
    found.map(|rule| rule["action"].as_str().unwrap_or_default().to_owned()).next()
}

fn contains(peer: &Value, address: &str) -> bool {
    let networks = peer["networks"].as_array().into_iter().flatten();
    let address: std::net::IpAddr = address.parse().expect("an address");
    networks
        .filter_map(|network| network.as_str()?.parse::<ipnet::IpNet>().ok())
        .any(|network| network.contains(&address))
}

fn rules() -> Value {
    let networks: Vec<String> = (0..60).map(|at| format!("198.51.{}.0/25", at * 2)).collect();
    json!([
        {"name": "lab", "networks": networks, "ports": [{"port": 443}, {"port": 8000, "endPort": 8010}]},
        {"name": "private", "networks": ["10.40.0.0/16"], "ports": [{"port": 443}]},
    ])
}

#[tokio::test]
async fn no_network_policy_opens_more_than_the_bound() -> Result<()> {
    let place = Place::new("bound").await?;
    place.open(rules()).await?;
    place.until_said(EgressState::Active, "").await?;
    let kind = place.with_cluster_policies("standard").await?;
    place.until_backend("ClusterNetworkPolicy", "Detected").await?;
    let all = place.until_bound().await?;
    for policy in &all {
        assert_eq!(ask(&json!({"cluster": policy}))?["error"], Value::Null, "{}", policy.name_any());
    }

    let to = |address: &str, port| decide(&all, "egress", |peer| contains(peer, address), port);
    for (address, port) in [("198.51.0.1", 443), ("198.51.118.9", 8005), ("10.40.3.4", 443)] {
        assert_eq!(to(address, port).as_deref(), Some("Pass"), "{address} on {port}");
    }
    for (address, port) in [("198.51.0.200", 443), ("198.51.0.1", 80), ("10.41.0.1", 443), ("169.254.169.254", 80)] {
        assert_eq!(to(address, port).as_deref(), Some("Deny"), "{address} on {port}");
    }
    let home = json!({"matchLabels": {"kubernetes.io/metadata.name": place.name}});
    let own = decide(&all, "ingress", |peer| peer["pods"]["namespaceSelector"] == home, 1);
    assert_eq!(own.as_deref(), Some("Pass"));
    assert_eq!(decide(&all, "ingress", |peer| peer["namespaces"] == json!({}), 1).as_deref(), Some("Deny"));

    // What a grant opens by itself is passed on while it is open; here: a rule that is taken away is not.
    let nothing = json!({"spec": {"egress": {"allowlists": []}}});
    let research = place.scene.all::<ResearchNamespace>();
    research.patch(&place.name, &PatchParams::default(), &Patch::Merge(&nothing)).await?;
    eventually("the bound to be narrower", async || {
        let all = place.bound().await?;
        let now = decide(&all, "egress", |peer| contains(peer, "198.51.0.1"), 443);
        ensure!(now.as_deref() == Some("Deny"), "{now:?}");
        Ok(())
    })
    .await?;
    research.delete(&place.name, &DeleteParams::default()).await?;
    let namespaces = place.scene.all::<k8s_openapi::api::core::v1::Namespace>();
    eventually("the declaration to be gone", async || {
        ensure!(research.get_opt(&place.name).await?.is_none(), "it is there");
        Ok(())
    })
    .await?;
    namespaces.delete(&place.name, &DeleteParams::default()).await?;
    place.until_unbound().await?;
    place.uninstall(&kind).await
}

#[tokio::test]
async fn names_open_where_the_definition_has_them() -> Result<()> {
    let place = Place::new("domain").await?;
    let kind = place.with_cluster_policies("experimental").await?;
    place.until_backend("ClusterNetworkPolicy", "Detected").await?;
    let ports = json!([{"port": 443}]);
    place
        .open(json!([
            {"name": "names", "domainNames": ["*.example.com", "www.example.org"], "ports": ports},
            {"name": "private", "networks": ["10.40.0.0/16"], "ports": ports},
        ]))
        .await?;
    let need = place.until_said(EgressState::Active, "").await?;
    assert_eq!(need.enforcement, Some(Enforcement::DNSObserved));
    let all = place.until_bound().await?;
    let name = format!("cloister.{}.allow.{}.names", place.name, place.name);
    let names = all.iter().find(|policy| policy.name_any() == name).context("no policy for names")?;
    assert_eq!(ask(&json!({"cluster": names}))?["error"], Value::Null);
    let accepted = |name: &str| {
        decide(&all, "egress", |peer| peer["domainNames"].as_array().is_some_and(|all| all.contains(&json!(name))), 443)
    };
    assert_eq!(accepted("*.example.com").as_deref(), Some("Accept"));
    assert_eq!(accepted("example.com"), None);
    // Wherever a name leads: not where no name leads, and where other rules lead as those say.
    let to = |address: &str| decide(&all, "egress", |peer| contains(peer, address), 443);
    assert_eq!(to("10.40.0.1").as_deref(), Some("Pass"));
    for address in ["169.254.169.254", "10.41.0.1", "203.0.113.1", "fd00:ec2::254"] {
        assert_eq!(to(address).as_deref(), Some("Deny"), "{address}");
    }
    assert!(!place.scene.policies(&place.name).await?.contains(&place.policy("names")));

    // The settled fields alone: names have no addresses here, so that they close.
    place.with_cluster_policies("standard").await?;
    place.until_said(EgressState::Refused, "WildcardNotEnforceable").await?;
    eventually("the names to be gone", async || {
        ensure!(!place.bound().await?.iter().any(|policy| policy.name_any() == name), "they are there");
        Ok(())
    })
    .await?;
    place.uninstall(&kind).await?;
    place.until_backend("NetworkPolicy", "Detected").await?;
    place.scene.wait_until_enforced(&place.name).await?;
    Ok(())
}

#[tokio::test]
async fn the_bound_is_the_operators_alone() -> Result<()> {
    let place = Place::new("apart").await?;
    let kind = place.with_cluster_policies("experimental").await?;
    place.open(json!([{"name": "names", "domainNames": ["www.example.org"], "ports": [{"port": 443}]}])).await?;
    place.until_bound().await?;
    let (api, deny) = (place.cluster_policies(), format!("cloister.{}.deny", place.name));
    let held = "managed-clusternetworkpolicies.cloister.dev";
    assert_denied(api.delete(&deny, &DeleteParams::default()).await, held);
    let other = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
    assert_denied(api.patch(&deny, &PatchParams::default(), &Patch::Merge(&other)).await, held);
    let collected = api.delete_collection(&DeleteParams::default(), &ListParams::default()).await;
    assert_denied(collected, held);
    // Cluster administrators have policies of their own.
    let mut own = api.get(&deny).await?;
    own.metadata = serde_json::from_value(json!({"name": place.name}))?;
    api.create(&PostParams::default(), &own).await?;
    api.delete(&place.name, &DeleteParams::default()).await?;

    // A stolen token opens nothing with it.
    let stolen: Api<ClusterNetworkPolicy> = Api::all(place.scene.world.operator().await?);
    let (bounded, names) =
        ("operator-clusternetworkpolicies.cloister.dev", format!("cloister.{}.allow.{}.names", place.name, place.name));
    let everywhere = json!({"networks": ["0.0.0.0/0"]});
    let changes = [
        (&deny, "/spec/egress/0/action", json!("Accept")),
        (&deny, "/spec/ingress/0/action", json!("Accept")),
        (&deny, "/spec/subject", json!({"namespaces": {}})),
        (&deny, "/spec/tier", json!("Baseline")),
        (&deny, "/spec/priority", json!(1)),
        (&names, "/spec/egress/1/to/0", everywhere),
        (&names, "/spec/egress/1/protocols", json!(null)),
    ];
    for (policy, path, value) in &changes {
        let mut changed = serde_json::to_value(api.get(policy).await?)?;
        let patch = json!([{"op": "replace", "path": path, "value": value}]);
        json_patch::patch(&mut changed, &serde_json::from_value::<json_patch::Patch>(patch)?)?;
        let changed = serde_json::from_value(changed)?;
        assert_denied(stolen.replace(policy, &PostParams::default(), &changed).await, bounded);
    }
    let mut elsewhere = api.get(&deny).await?;
    elsewhere.metadata = serde_json::from_value(json!({"name": "cloister.kube-system.deny"}))?;
    assert_denied(stolen.create(&PostParams::default(), &elsewhere).await, bounded);
    place.uninstall(&kind).await
}
