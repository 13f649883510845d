//! Clusters of a test's own, for what cannot be tried in the shared one: ending the operator, taking away the admission
//! policies, changing the kinds.

use crate::{
    proxy::Proxy,
    reuse::{self, Changes, Used},
};
use anyhow::{Context, Result, ensure};
use k8s_openapi::{
    api::admissionregistration::v1::ValidatingAdmissionPolicyBinding,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tempfile::TempDir;
use xtask::{
    cluster::{Cluster, Options, workspace_root},
    install,
    operator::{self, Operator},
    prepared,
};

/// A cluster with `deploy/` in it, and no operator yet.
pub struct Bare {
    /// The cluster.
    pub cluster: Cluster,
    /// An administrator.
    pub admin: Client,
    binary: PathBuf,
    log: PathBuf,
    /// What is the test's.
    folder: TempDir,
    /// What is the cluster's: its audit log.
    of_cluster: TempDir,
    /// What was changed of `deploy/`.
    changed: Mutex<Changes>,
}

impl Bare {
    /// Takes a cluster that another test gave back, or starts one and installs what is in `deploy/`.
    pub async fn start(name: &str) -> Result<Self> {
        match reuse::take() {
            Some(used) => Self::of(used).await,
            None => Self::start_with(Options { name: name.to_owned(), ..Options::default() }).await,
        }
    }

    /// Starts one with other options; the audit log is always this one's own.
    pub async fn start_with(options: Options) -> Result<Self> {
        let of_cluster = tempfile::tempdir()?;
        let options = Options { audit_log: Some(of_cluster.path().join("audit")), ..options };
        let cluster = prepared::start(options, &workspace_root()?.join("deploy")).await?;
        Self::of((cluster, of_cluster)).await
    }

    async fn of((cluster, of_cluster): Used) -> Result<Self> {
        let admin = cluster.admin_client().await?;
        let binary = tokio::task::spawn_blocking(operator::build).await??;
        let folder = tempfile::tempdir()?;
        Ok(Bare {
            cluster,
            admin,
            binary,
            log: folder.path().join("log"),
            folder,
            of_cluster,
            changed: Mutex::default(),
        })
    }

    /// Deletes what the test made, puts back what it took of `deploy/` by the functions of this type, and keeps the cluster
    /// for the next one. No operator runs any more.
    pub async fn give_back(self) -> Result<()> {
        let changed = std::mem::take(&mut *self.changed());
        let next = Self::of((self.cluster, self.of_cluster)).await?;
        // What is stored is read by this version's schemas again.
        reuse::restore_definitions(&next.admin, &changed).await?;
        let operator = next.operator().await?;
        reuse::clean(&next.cluster, &next.admin).await?;
        ensure!(operator.stop().await?.success(), "the operator that cleans up has failed: {}", next.log());
        reuse::restore_admission(&next.admin, &changed).await?;
        reuse::keep((next.cluster, next.of_cluster));
        Ok(())
    }

    fn changed(&self) -> MutexGuard<'_, Changes> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the operator and waits until it is ready.
    pub async fn operator(&self) -> Result<Operator> {
        Operator::start(&self.binary, &self.cluster, &self.log, &["--log", "info"]).await
    }

    /// The same, with an audit record in this file.
    pub async fn recording_operator(&self, record: &Path) -> Result<Operator> {
        let record = record.to_str().context("a path that is not text")?;
        Operator::start(&self.binary, &self.cluster, &self.log, &["--log", "info", "--audit", record]).await
    }

    /// The same through a proxy, with these options besides.
    pub async fn operator_through(&self, proxy: &Proxy, arguments: &[&str]) -> Result<Operator> {
        let mut operator = self.spawn_through(proxy, arguments).await?;
        operator.wait_until_ready().await?;
        Ok(operator)
    }

    /// The same, without waiting until it is ready.
    pub async fn spawn_through(&self, proxy: &Proxy, arguments: &[&str]) -> Result<Operator> {
        let kubeconfig = proxy.kubeconfig(Operator::kubeconfig(&self.cluster).await?);
        let log: &[&str] = if arguments.contains(&"--log") { &[] } else { &["--log", "info"] };
        let arguments = [log, arguments].concat();
        Operator::spawn_as(&self.binary, &kubeconfig, &self.log, &arguments)
    }

    /// Has the operator started by another program, which is given the arguments.
    pub fn run_by(&mut self, program: PathBuf) {
        self.binary = program;
    }

    /// The program of the operator.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A folder of the test's own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the operator logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The requests of the operator that change something, as the API server's audit log has them: verb, resource with
    /// subresource, namespace and name.
    pub fn writes(&self) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(self.of_cluster.path().join("audit"))?;
        let mut writes = Vec::new();
        for line in text.lines() {
            let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            let verb = event["verb"].as_str().unwrap_or_default();
            // That it goes on holding its Lease changes nothing.
            let reads = ["get", "list", "watch"].contains(&verb) || event["objectRef"]["resource"] == "leases";
            if event["stage"] == "ResponseComplete" && event["user"]["username"] == crate::OPERATOR && !reads {
                let object = &event["objectRef"];
                let part = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
                writes.push(format!(
                    "{verb} {}/{} {}/{}",
                    part("resource"),
                    part("subresource"),
                    part("namespace"),
                    part("name")
                ));
            }
        }
        Ok(writes)
    }

    /// Takes the validating admission policies out of force, as somebody with the power to do so could.
    pub async fn without_admission(&self) -> Result<()> {
        self.changed().admission = true;
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.admin.clone());
        for binding in bindings.list(&ListParams::default()).await? {
            bindings.delete(&binding.name_any(), &DeleteParams::default()).await?;
        }
        // What was written before the last is seen before the last.
        install::wait_until_in_force(&self.admin).await
    }

    /// Makes a kind accept a field that this version does not know, as a newer version's definition would.
    pub async fn add_field(&self, crd: &str, path: &str, schema: serde_json::Value) -> Result<()> {
        self.changed().definitions.insert(crd.to_owned());
        let crds: Api<CustomResourceDefinition> = Api::all(self.admin.clone());
        let before = crds.get(crd).await?.metadata.generation;
        let patch =
            json!([{"op": "add", "path": format!("/spec/versions/0/schema/openAPIV3Schema{path}"), "value": schema}]);
        let patch: json_patch::Patch = serde_json::from_value(patch)?;
        let patched = crds.patch(crd, &PatchParams::default(), &Patch::Json::<()>(patch)).await?;
        ensure!(patched.metadata.generation > before, "{crd} has not changed");
        Ok(())
    }
}
