//! What the API says of the cluster around: its own networks, which no rule opens whether they are written down or not, its
//! DNS, and kinds of network policies of others.

use crate::place::Place;
use anyhow::{Context, Result, ensure};
use cloister_api::{CloisterConfig, EgressState, ResearchNamespace};
use cloister_tests::{assert_denied, eventually, scene::condition};
use ipnet::IpNet;
use k8s_openapi::{
    api::{
        core::v1::{Namespace, Node, Service, ServiceAccount},
        discovery::v1::EndpointSlice,
        networking::v1::NetworkPolicy,
        rbac::v1::ClusterRole,
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::json;

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

    /// Waits until this is said of the namespace.
    async fn until_ready_says(&self, reason: &str, message: &str) -> Result<()> {
        eventually(&format!("the namespace to say {reason}"), async || {
            let object = self.scene.all::<ResearchNamespace>().get(&self.name).await?;
            let ready = condition(&object, "Ready").context("nothing is said of it")?;
            ensure!(ready.reason == reason && ready.message == message, "{}: {}", ready.reason, ready.message);
            Ok(())
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

/// The objects of such a kind, in the namespace of the place.
fn stubs(place: &Place, plural: &str, kind: &str) -> Api<DynamicObject> {
    let kind = ApiResource {
        group: "policies.example.com".into(),
        version: "v1".into(),
        api_version: "policies.example.com/v1".into(),
        kind: kind.into(),
        plural: plural.into(),
    };
    Api::namespaced_with(place.scene.admin.clone(), &place.name, &kind)
}

fn open_all(kind: &str) -> Result<DynamicObject> {
    let object = json!({"apiVersion": "policies.example.com/v1", "kind": kind, "metadata": {"name": "open-all"}});
    Ok(serde_json::from_value(object)?)
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
    let api = stubs(&place, "fqdnnetworkpolicies", "FQDNNetworkPolicy");
    let refused = api.create(&PostParams::default(), &open_all("FQDNNetworkPolicy")?).await;
    assert_denied(refused, "managed-objects.cloister.dev");
    place.uninstall(&namespaced).await?;
    place.uninstall(&cluster).await?;
    place.until_config("PolicyKindsWatched", "True", "Watched").await?;
    Ok(())
}

/// A plugin brings a kind that nobody has thought of: the operator says which right it lacks, and beside it what it found;
/// once an administrator has done what the message says, the Namespace is looked through, and adopted.
#[tokio::test]
async fn a_kind_of_policies_that_may_not_be_listed_is_named_until_the_operator_may() -> Result<()> {
    let place = Place::new("unlisted").await?;
    let (scene, name) = (&place.scene, &place.name);
    let definition = place.install(&stub("stagednetworkpolicies", "StagedNetworkPolicy", "Namespaced")).await?;
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    scene.all::<Namespace>().create(&PostParams::default(), &namespace).await?;
    let accounts = scene.within::<ServiceAccount>(name);
    eventually("the default ServiceAccount", async || Ok(accounts.get("default").await.map(drop)?)).await?;
    let policies = stubs(&place, "stagednetworkpolicies", "StagedNetworkPolicy");
    policies.create(&PostParams::default(), &open_all("StagedNetworkPolicy")?).await?;
    let services = scene.within::<Service>(name);
    let front = json!({"metadata": {"name": "front"}, "spec": {"ports": [{"port": 80}]}});
    services.create(&PostParams::default(), &serde_json::from_value(front)?).await?;

    scene.declare(name, json!({"tier": "Standard"})).await?;
    let offer = Patch::Merge(json!({"metadata": {"annotations": {"cloister.dev/adopt": name}}}));
    scene.all::<Namespace>().patch(name, &PatchParams::default(), &offer).await?;
    let found = |what: &str, then: &str| {
        format!(
            "Namespace {name} contains objects that admission has never checked: {what}; ask a cluster administrator to delete \
             them{then}. Until then, new objects of these kinds are rejected there; create what is still needed afterwards"
        )
    };
    let forbidden = format!(
        "The operator does not have the permission to list {definition}, so it cannot inspect Namespace {name} completely; ask a \
         cluster administrator to add this permission to ClusterRole cloister:operator (deploy/rbac/operator.yaml). The operator \
         inspects the Namespace again every 10 seconds"
    );
    place.until_ready_says("ForeignObjects", &format!("{}. {forbidden}", found("Service/front", ""))).await?;
    services.delete("front", &DeleteParams::default()).await?;
    place.until_ready_says("InspectionIncomplete", &forbidden).await?;

    let roles = scene.all::<ClusterRole>();
    let rule =
        json!({"apiGroups": ["policies.example.com"], "resources": ["stagednetworkpolicies"], "verbs": ["list"]});
    let add: json_patch::Patch = serde_json::from_value(json!([{"op": "add", "path": "/rules/0", "value": rule}]))?;
    let role = "cloister:operator";
    roles.patch(role, &PatchParams::default(), &Patch::Json::<()>(add)).await?;
    let policy = found("StagedNetworkPolicy/open-all", ", then the Namespace is adopted");
    place.until_ready_says("ForeignObjects", &policy).await?;
    policies.delete("open-all", &DeleteParams::default()).await?;
    scene.wait_until_enforced(name).await?;

    let remove = json!([{"op": "test", "path": "/rules/0", "value": rule}, {"op": "remove", "path": "/rules/0"}]);
    let remove: json_patch::Patch = serde_json::from_value(remove)?;
    roles.patch(role, &PatchParams::default(), &Patch::Json::<()>(remove)).await?;
    place.uninstall(&definition).await?;
    place.until_config("PolicyKindsWatched", "True", "Watched").await?;
    Ok(())
}
