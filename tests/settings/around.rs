//! What the API says of the cluster around: its own networks, which no rule opens whether they are written down or not, its
//! DNS, and kinds of network policies of others.

use crate::place::Place;
use anyhow::{Context, Result, ensure};
use cloister_api::{CloisterConfig, EgressState};
use cloister_tests::{assert_denied, eventually};
use ipnet::IpNet;
use k8s_openapi::{
    api::{
        core::v1::{Node, Service},
        discovery::v1::EndpointSlice,
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

impl Place {
    /// Waits until this is said of the settings.
    pub async fn until_config(&self, type_: &str, status: &str, reason: &str) -> Result<Condition> {
        let api = self.scene.all::<CloisterConfig>();
        eventually(&format!("{type_} {status} {reason}"), async || {
            let said = api.get("cloister").await?.status.unwrap_or_default().conditions;
            let said = said.into_iter().find(|condition| condition.type_ == type_).context("nothing is said")?;
            ensure!(said.status == status && said.reason == reason, "{}: {}", said.reason, said.message);
            Ok(said)
        })
        .await
    }

    async fn until_closed(&self, rule: &str, address: &str, closed: bool) -> Result<()> {
        let policy = self.policy(rule);
        let address: std::net::IpAddr = address.parse()?;
        eventually(&format!("{address} to be closed: {closed}"), async || {
            let open = self.scene.networks(&self.name, &policy).await?;
            ensure!(!open.is_empty(), "nothing is open");
            let is_open = open.iter().any(|network| network.parse::<IpNet>().is_ok_and(|one| one.contains(&address)));
            ensure!(is_open != closed, "open is {open:?}");
            Ok(())
        })
        .await
    }
}

#[tokio::test]
async fn the_clusters_own_networks_are_opened_by_no_rule_whether_they_are_written_down_or_not() -> Result<()> {
    let place = Place::new("around").await?;
    place.configure(json!({"egress": {"backend": "NetworkPolicy"}})).await?;
    place.open(json!([{"name": "corp", "networks": ["10.0.0.0/8"], "ports": [{"port": 443}]}])).await?;
    for address in ["10.96.0.1", "10.96.200.7"] {
        place.until_closed("corp", address, true).await?;
    }
    place.until_closed("corp", "10.77.1.7", false).await?;
    let said = place.until_config("ClusterNetworksKnown", "True", "Known").await?;
    assert!(said.message.contains("10.96.0.0/16"), "{}", said.message);

    // A Node brings a network of pods, and an address.
    let nodes: Api<Node> = place.scene.all();
    let node =
        json!({"metadata": {"name": place.name}, "spec": {"podCIDR": "10.77.1.0/24", "podCIDRs": ["10.77.1.0/24"]}});
    nodes.create(&PostParams::default(), &serde_json::from_value(node)?).await?;
    let addresses = json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.88.0.5"}]}});
    nodes.patch_status(&place.name, &PatchParams::default(), &Patch::Merge(&addresses)).await?;
    for address in ["10.77.1.7", "10.88.0.5"] {
        place.until_closed("corp", address, true).await?;
    }
    nodes.delete(&place.name, &DeleteParams::default()).await?;
    place.until_closed("corp", "10.77.1.7", false).await?;

    // One that says what no Node has closes nothing, and is told.
    let everything = json!({"podCIDR": "0.0.0.0/0", "podCIDRs": ["0.0.0.0/0"]});
    let node = json!({"metadata": {"name": place.name}, "spec": everything});
    nodes.create(&PostParams::default(), &serde_json::from_value(node)?).await?;
    let said = place.until_config("ClusterNetworksKnown", "False", "NodeNotBelieved").await?;
    assert!(said.message.contains(&format!("Node {} (podCIDR 0.0.0.0/0", place.name)), "{}", said.message);
    place.until_closed("corp", "10.77.1.7", false).await?;
    nodes.delete(&place.name, &DeleteParams::default()).await?;
    place.until_config("ClusterNetworksKnown", "True", "Known").await?;
    place.choose("Auto").await
}

#[tokio::test]
async fn a_dns_that_pods_do_not_reach_is_told() -> Result<()> {
    let place = Place::new("dnsreach").await?;
    let selector = json!({"matchLabels": {"dns": place.name}});
    let dns = json!({"namespace": "kube-system", "service": place.name, "podSelector": selector});
    place.configure(json!({"dns": dns, "egress": {"backend": "NetworkPolicy"}})).await?;
    place.until_config("DNSReachable", "False", "DNSServiceNotFound").await?;

    let services: Api<Service> = place.scene.within("kube-system");
    let service = |app: &str| -> Result<Service> {
        let ports = json!([
            {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 5353},
        ]);
        Ok(serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": place.name},
            "spec": {"selector": {"dns": app}, "ports": ports},
        }))?)
    };
    let params = PatchParams::apply("test").force();
    services.patch(&place.name, &params, &Patch::Apply(&service("another")?)).await?;
    place.until_config("DNSReachable", "False", "DNSSelectorMismatch").await?;
    services.patch(&place.name, &params, &Patch::Apply(&service(&place.name)?)).await?;
    place.until_config("DNSReachable", "False", "DNSWithoutEndpoints").await?;
    let slices: Api<EndpointSlice> = place.scene.within("kube-system");
    let slice = json!({
        "metadata": {"name": place.name, "labels": {"kubernetes.io/service-name": place.name}}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.53"], "conditions": {"ready": true}}],
        "ports": [{"name": "dns", "protocol": "UDP", "port": 5353}],
    });
    slices.create(&PostParams::default(), &serde_json::from_value(slice)?).await?;
    place.until_config("DNSReachable", "True", "Reachable").await?;

    // The pods of the Service are asked at another port than the Service.
    place.open(json!([{"name": "lab", "networks": ["198.51.100.0/24"], "ports": [{"port": 443}]}])).await?;
    eventually("the port of the pods to be open", async || {
        let policy = place.scene.within::<NetworkPolicy>(&place.name).get("cloister-dns").await?;
        let egress = serde_json::to_value(policy.spec.and_then(|spec| spec.egress))?;
        ensure!(egress.to_string().contains("5353"), "{egress}");
        Ok(())
    })
    .await?;
    slices.delete(&place.name, &DeleteParams::default()).await?;
    services.delete(&place.name, &DeleteParams::default()).await?;
    place.choose("Auto").await
}

/// A definition of a kind of others, of which nothing is known but that it is there.
fn stub(plural: &str, kind: &str, scope: &str) -> String {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.policies.example.com")},
        "spec": {
            "group": "policies.example.com", "scope": scope,
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    })
    .to_string()
}

#[tokio::test]
async fn policies_of_other_plugins_are_refused_or_told() -> Result<()> {
    let place = Place::new("unwatched").await?;
    place.open(json!([{"name": "lab", "networks": ["198.51.100.0/24"], "ports": [{"port": 443}]}])).await?;
    place.until_said(EgressState::Active, "").await?;
    place.until_config("PolicyKindsWatched", "True", "Watched").await?;
    let namespaced = place.install(&stub("fqdnnetworkpolicies", "FQDNNetworkPolicy", "Namespaced")).await?;
    let cluster = place.install(&stub("globalnetworkpolicies", "GlobalNetworkPolicy", "Cluster")).await?;
    eventually("both kinds to be told", async || {
        let said = place.until_config("PolicyKindsWatched", "False", "Unwatched").await?;
        ensure!(said.message.contains(&namespaced) && said.message.contains(&cluster), "{}", said.message);
        Ok(())
    })
    .await?;
    let kind = ApiResource {
        group: "policies.example.com".into(),
        version: "v1".into(),
        api_version: "policies.example.com/v1".into(),
        kind: "FQDNNetworkPolicy".into(),
        plural: "fqdnnetworkpolicies".into(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(place.scene.admin.clone(), &place.name, &kind);
    let object: Value =
        json!({"apiVersion": "policies.example.com/v1", "kind": "FQDNNetworkPolicy", "metadata": {"name": "open-all"}});
    let refused = api.create(&PostParams::default(), &serde_json::from_value(object)?).await;
    assert_denied(refused, "managed-objects.cloister.dev");
    place.uninstall(&namespaced).await?;
    place.uninstall(&cluster).await?;
    place.until_config("PolicyKindsWatched", "True", "Watched").await?;
    Ok(())
}
