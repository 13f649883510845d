//! CiliumNetworkPolicies, on the API server by Cilium's definition, and read as Cilium reads them.

use crate::place::{Place, ask};
use anyhow::{Result, ensure};
use cloister_api::{EgressState, Enforcement, ResearchNamespace, plugin::CiliumNetworkPolicy};
use cloister_tests::{assert_denied, eventually};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use std::process::Command;

/// Cilium's definition of the kind.
fn definition() -> Result<String> {
    let output = Command::new(xtask::cluster::build_plugins()?).arg("cilium").output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

const NAMES: [&str; 7] = [
    "example.com",
    "a.example.com",
    "a.b.example.com",
    "badexample.com",
    "www.example.org",
    "a.www.example.org",
    "example.com.evil.org",
];

impl Place {
    fn cilium_policies(&self) -> Api<CiliumNetworkPolicy> {
        self.scene.within(&self.name)
    }

    async fn with_cilium(&self) -> Result<String> {
        let definition = tokio::task::spawn_blocking(definition).await??;
        self.install(&definition).await
    }

    async fn until_opened_by_name(&self, rule: &str) -> Result<CiliumNetworkPolicy> {
        let name = self.policy(rule);
        eventually(&format!("CiliumNetworkPolicy {name}"), async || Ok(self.cilium_policies().get(&name).await?)).await
    }
}

fn rules() -> Value {
    json!([
        {"name": "names", "domainNames": ["*.example.com", "www.example.org"],
         "ports": [{"port": 443}, {"port": 8000, "endPort": 8010, "protocol": "UDP"}]},
        {"name": "lab", "networks": ["198.51.100.0/24"], "ports": [{"port": 443}]},
    ])
}

#[tokio::test]
async fn names_open_by_cilium_while_its_kind_is_there() -> Result<()> {
    let place = Place::new("cilium").await?;
    place.until_backend("NetworkPolicy", "Detected").await?;
    place.open(rules()).await?;
    let need = place.until_said(EgressState::Refused, "WildcardNotEnforceable").await?;
    // The host beside the wildcard is held by its addresses.
    assert_eq!(need.enforcement, Some(Enforcement::AddressSet));
    assert!(need.message.contains("*.example.com"), "{}", need.message);

    let kind = place.with_cilium().await?;
    place.until_backend("Cilium", "Detected").await?;
    let need = place.until_said(EgressState::Active, "").await?;
    assert_eq!(need.enforcement, Some(Enforcement::DNSObserved));
    let policy = place.until_opened_by_name("names").await?;
    let said = ask(&json!({"cilium": policy, "names": NAMES}))?;
    assert_eq!(said["means"], json!(["a.example.com", "a.b.example.com", "www.example.org"]), "{said}");
    assert_eq!(said["isolates"], json!(true), "{said}");
    assert!(!policy.spec.clone().unwrap_or_default().to_string().contains("\"::ffff"), "IPv4 under another name");
    // What is no name stays a NetworkPolicy, and nothing is opened twice.
    let policies = place.scene.policies(&place.name).await?;
    assert!(policies.contains(&place.policy("lab")) && !policies.contains(&place.policy("names")), "{policies:?}");

    place.uninstall(&kind).await?;
    place.until_backend("NetworkPolicy", "Detected").await?;
    place.until_said(EgressState::Refused, "WildcardNotEnforceable").await?;
    place.scene.wait_until_enforced(&place.name).await?;

    place.with_cilium().await?;
    place.until_said(EgressState::Active, "").await?;
    place.until_opened_by_name("names").await?;
    place.choose("NetworkPolicy").await?;
    place.until_backend("NetworkPolicy", "Chosen").await?;
    eventually("the policy to be gone", async || {
        let left = place.cilium_policies().list(&ListParams::default()).await?;
        ensure!(left.items.is_empty(), "{} are left", left.items.len());
        Ok(())
    })
    .await?;
    place.uninstall(&kind).await
}

#[tokio::test]
async fn what_is_chosen_and_not_there_opens_no_name() -> Result<()> {
    let place = Place::new("missing").await?;
    place.choose("Cilium").await?;
    place.until_backend("NetworkPolicy", "BackendMissing").await?;
    place.open(json!([{"name": "names", "domainNames": ["www.example.org"], "ports": [{"port": 443}]}])).await?;
    let need = place.until_said(EgressState::Unresolved, "BackendMissing").await?;
    assert!(need.message.contains("egress.backend of CloisterConfig is Cilium, which is not installed"), "{need:?}");
    assert!(!place.scene.policies(&place.name).await?.contains(&place.policy("names")));
    Ok(())
}

#[tokio::test]
async fn what_opens_by_name_is_the_operators_alone() -> Result<()> {
    let place = Place::new("held").await?;
    let kind = place.with_cilium().await?;
    place.open(rules()).await?;
    let policy = place.until_opened_by_name("names").await?;
    let (name, api) = (policy.name_any(), place.cilium_policies());

    // Nobody else makes one, changes one or deletes one, not even an administrator.
    let mut other = policy.clone();
    other.metadata = serde_json::from_value(json!({"name": "widen"}))?;
    assert_denied(api.create(&PostParams::default(), &other).await, "managed-objects.cloister.dev");
    let wider = json!({"spec": {"egress": [{"toEntities": ["world"]}]}});
    let changed = api.patch(&name, &PatchParams::default(), &Patch::Merge(&wider)).await;
    assert_denied(changed, "managed-objects.cloister.dev");
    assert_denied(api.delete(&name, &DeleteParams::default()).await, "managed-objects.cloister.dev");
    let all = api.delete_collection(&DeleteParams::default(), &ListParams::default()).await;
    assert_denied(all, "managed-objects.cloister.dev");

    // A stolen token opens nothing but names, on ports.
    let operator = place.scene.world.operator().await?;
    let stolen: Api<CiliumNetworkPolicy> = Api::namespaced(operator.clone(), &place.name);
    let bounded = "operator-ciliumnetworkpolicies.cloister.dev";
    let changes = [
        ("/spec/egress/2/toFQDNs", json!([{"matchPattern": "*"}])),
        ("/spec/egress/2/toFQDNs", json!([{"matchPattern": "**.com"}])),
        ("/spec/egress/2/toPorts", json!([])),
        ("/spec/egress/2", json!({"toEntities": ["world"], "toPorts": [{"ports": [{"port": "443"}]}]})),
        ("/spec/egress/2", json!({"toCIDR": ["198.51.100.0/24"], "toPorts": [{"ports": [{"port": "443"}]}]})),
        ("/spec/egress/0/toPorts/0/ports/0", json!({"port": "443", "protocol": "TCP"})),
        ("/spec/egress/1/toCIDR", json!(["169.254.0.0/16"])),
        ("/spec/ingress", json!([{"fromEntities": ["all"]}])),
    ];
    for (path, value) in changes {
        let patch = json!([{"op": "add", "path": path, "value": value}]);
        let mut changed = serde_json::to_value(api.get(&name).await?)?;
        json_patch::patch(&mut changed, &serde_json::from_value::<json_patch::Patch>(patch)?)?;
        let changed = serde_json::from_value(changed)?;
        assert_denied(stolen.replace(&name, &PostParams::default(), &changed).await, bounded);
    }
    let elsewhere: Api<CiliumNetworkPolicy> = Api::namespaced(operator, "default");
    let mut other = policy.clone();
    other.metadata = serde_json::from_value(json!({"name": "cloister-x"}))?;
    assert_denied(elsewhere.create(&PostParams::default(), &other).await, "operator-objects.cloister.dev");
    place.uninstall(&kind).await
}

#[tokio::test]
async fn what_stands_is_not_written_again() -> Result<()> {
    let place = Place::new("steady").await?;
    let kind = place.with_cilium().await?;
    place.open(rules()).await?;
    let before = place.until_opened_by_name("names").await?;
    place.until_said(EgressState::Active, "").await?;
    // A change that concerns the namespace and not this policy.
    let label = json!({"metadata": {"labels": {"tier": "one"}}});
    let research = place.scene.all::<ResearchNamespace>();
    research.patch(&place.name, &PatchParams::default(), &Patch::Merge(&label)).await?;
    let quota = json!({"spec": {"quota": {"pods": "7"}}});
    research.patch(&place.name, &PatchParams::default(), &Patch::Merge(&quota)).await?;
    place.scene.wait_until_enforced(&place.name).await?;
    let after = place.cilium_policies().get(&before.name_any()).await?;
    assert_eq!(before.metadata.resource_version, after.metadata.resource_version);
    place.uninstall(&kind).await
}
