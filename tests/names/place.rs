//! The cluster of these tests: its DNS is a server that they write the zone of, and names are held for seconds.

use anyhow::{Context, Result, ensure};
use cloister_api::{CloisterConfig, EgressState, EgressStatus, HostStatus, ResearchNamespace};
use cloister_tests::{eventually, scene::Scene, unique};
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use xtask::dns::DnsServer;

/// How long an address stays open after its answer has run out.
pub const GRACE_SECONDS: i64 = 6;

/// How long the last answer counts while nobody answers.
pub const STALE_SECONDS: i64 = 15;

/// A view of the cluster, and its DNS.
pub struct Place {
    pub scene: Scene,
    pub dns: &'static DnsServer,
    /// The name of a namespace, an allowlist, and of the zone of the test.
    pub name: String,
}

/// The settings of a cluster with this DNS server.
pub fn settings(dns: &DnsServer) -> Value {
    json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "CloisterConfig", "metadata": {"name": "cloister"},
        "spec": {
            "clusterNetworks": ["203.0.113.0/28"],
            "dns": {
                "servers": [dns.address().to_string()],
                "resolution": {
                    "minimumTTL": "1s", "grace": format!("{GRACE_SECONDS}s"), "stale": format!("{STALE_SECONDS}s"),
                    "maximumAddresses": 16,
                },
            },
        },
    })
}

impl Place {
    pub async fn new(prefix: &str) -> Result<Self> {
        static DNS: OnceCell<DnsServer> = OnceCell::const_new();
        let scene = Scene::new().await;
        let start = async || {
            let dns = tokio::task::spawn_blocking(DnsServer::start).await??;
            let config = serde_json::from_value(settings(&dns))?;
            scene.all::<CloisterConfig>().create(&PostParams::default(), &config).await?;
            anyhow::Ok(dns)
        };
        let dns = DNS.get_or_try_init(start).await?;
        Ok(Place { scene, dns, name: unique(prefix) })
    }

    /// A name of this test's own.
    pub fn host(&self, name: &str) -> String {
        format!("{name}.{}.example", self.name)
    }

    /// Publishes an allowlist with one rule, `r`, and declares a namespace that asks for it.
    pub async fn open(&self, target: Value) -> Result<()> {
        let mut rule = json!({"name": "r", "ports": [{"port": 443}]});
        rule.as_object_mut().context("a rule")?.extend(target.as_object().context("a target")?.clone());
        let team = json!({"matchLabels": {"team": self.name}});
        self.scene.allowlist(&self.name, json!({"namespaceSelector": team, "rules": [rule]})).await?;
        let spec = json!({"tier": "Standard", "egress": {"allowlists": [self.name]}});
        self.scene.enforced(&self.name, spec).await?;
        Ok(())
    }

    /// The networks that the rule opens.
    pub async fn networks(&self) -> Result<Vec<String>> {
        self.scene.networks(&self.name, &format!("cloister-allow.{}.r", self.name)).await
    }

    pub async fn until_open(&self, networks: &[&str]) -> Result<()> {
        eventually(&format!("{networks:?} to be open"), async || {
            let open = self.networks().await?;
            ensure!(open == networks, "open is {open:?}");
            Ok(())
        })
        .await
    }

    /// What is said of the rule.
    pub async fn need(&self) -> Result<EgressStatus> {
        let object = self.scene.all::<ResearchNamespace>().get(&self.name).await?;
        let mut needs = object.status.unwrap_or_default().egress.into_iter();
        needs.find(|need| need.name == format!("allowlist/{}", self.name)).context("nothing is said of the rule")
    }

    pub async fn until_said(&self, state: EgressState, reason: &str) -> Result<EgressStatus> {
        eventually(&format!("{state:?} {reason}"), async || {
            let need = self.need().await?;
            ensure!(need.state == state && need.reason == reason, "{need:?}");
            Ok(need)
        })
        .await
    }

    /// What is known of one name.
    pub async fn known(&self, host: &str) -> Result<HostStatus> {
        let need = self.need().await?;
        need.hosts.into_iter().find(|known| known.name == host).with_context(|| format!("nothing is known of {host}"))
    }
}
