//! A cluster in which definitions come and go. One test at a time has it: what is installed concerns all of it.

use anyhow::{Context, Result, ensure};
use cloister_api::{CloisterConfig, EgressState, EgressStatus, ResearchNamespace};
use cloister_tests::{eventually, scene::Scene, unique};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use std::{
    io::Write,
    process::{Command, Stdio},
};
use tokio::sync::{Mutex, MutexGuard};

pub struct Place {
    pub scene: Scene,
    /// The name of a namespace and of an allowlist.
    pub name: String,
    _alone: MutexGuard<'static, ()>,
}

impl Place {
    /// The cluster without any plugin, with the settings that it has by itself.
    pub async fn new(prefix: &str) -> Result<Self> {
        static ALONE: Mutex<()> = Mutex::const_new(());
        let alone = ALONE.lock().await;
        let place = Place { scene: Scene::new().await, name: unique(prefix), _alone: alone };
        place.choose("Auto").await?;
        Ok(place)
    }

    /// Sets `egress.backend`.
    pub async fn choose(&self, backend: &str) -> Result<()> {
        self.configure(json!({"egress": {"backend": backend}, "clusterNetworks": ["203.0.113.0/28"]})).await
    }

    /// Sets all of the settings.
    pub async fn configure(&self, spec: Value) -> Result<()> {
        let config = json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "CloisterConfig", "metadata": {"name": "cloister"}, "spec": spec,
        });
        let params = PatchParams::apply("test").force();
        self.scene.all::<CloisterConfig>().patch("cloister", &params, &Patch::Apply(&config)).await?;
        Ok(())
    }

    /// Waits until this is said of the backend.
    pub async fn until_backend(&self, backend: &str, reason: &str) -> Result<()> {
        let api = self.scene.all::<CloisterConfig>();
        eventually(&format!("backend {backend}, {reason}"), async || {
            let status = api.get("cloister").await?.status.unwrap_or_default();
            let said = status.conditions.iter().find(|condition| condition.type_ == "BackendAvailable");
            let said = said.context("nothing is said")?;
            let is = status.egress_backend.map(|backend| backend.as_str());
            ensure!(is == Some(backend) && said.reason == reason, "it is {is:?}: {}: {}", said.reason, said.message);
            Ok(())
        })
        .await
    }

    /// Installs a definition, which is one in YAML.
    pub async fn install(&self, definition: &str) -> Result<String> {
        let definition: Value = xtask::install::parse(definition)?;
        let definition: CustomResourceDefinition = serde_json::from_value(definition)?;
        let name = definition.name_any();
        let api = self.scene.all::<CustomResourceDefinition>();
        api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&definition)).await?;
        xtask::install::wait_until_established(&self.scene.admin, &name).await?;
        Ok(name)
    }

    /// Takes a definition away, with all of its objects.
    pub async fn uninstall(&self, definition: &str) -> Result<()> {
        let api = self.scene.all::<CustomResourceDefinition>();
        api.delete(definition, &DeleteParams::default()).await?;
        eventually(&format!("{definition} to be gone"), async || {
            ensure!(api.get_opt(definition).await?.is_none(), "it is there");
            Ok(())
        })
        .await
    }

    /// Publishes an allowlist with these rules, and declares a namespace that asks for it.
    pub async fn open(&self, rules: Value) -> Result<()> {
        let team = json!({"matchLabels": {"team": self.name}});
        self.scene.allowlist(&self.name, json!({"namespaceSelector": team, "rules": rules})).await?;
        let spec = json!({"tier": "Standard", "egress": {"allowlists": [self.name]}});
        self.scene.enforced(&self.name, spec).await?;
        Ok(())
    }

    /// The name of the policy of a rule.
    pub fn policy(&self, rule: &str) -> String {
        format!("cloister-allow.{}.{rule}", self.name)
    }

    /// Waits until this is said of the allowlist.
    pub async fn until_said(&self, state: EgressState, reason: &str) -> Result<EgressStatus> {
        let wanted = format!("allowlist/{}", self.name);
        eventually(&format!("{state:?} {reason}"), async || {
            let object = self.scene.all::<ResearchNamespace>().get(&self.name).await?;
            let needs = object.status.unwrap_or_default().egress;
            let need =
                needs.into_iter().find(|need| need.name == wanted).context("nothing is said of the allowlist")?;
            ensure!(need.state == state && need.reason == reason, "{need:?}");
            Ok(need)
        })
        .await
    }
}

/// What the project says of a policy whose it is.
pub fn ask(question: &Value) -> Result<Value> {
    let mut plugins = Command::new(xtask::cluster::build_plugins()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run it")?;
    plugins.stdin.take().context("no standard input")?.write_all(format!("{question}\n").as_bytes())?;
    Ok(serde_json::from_slice(&plugins.wait_with_output()?.stdout)?)
}
