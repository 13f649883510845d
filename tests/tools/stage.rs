//! One cluster for all of these tests: first without the operator, to see what is said of what nobody has looked at, then
//! with it.

use anyhow::{Result, ensure};
use cloister_tests::{
    TestCluster, cluster,
    tools::{kstatus, run},
    world::world,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tokio::sync::OnceCell;
use xtask::cluster::{build_kubectl, build_validate, workspace_root};

pub use cloister_tests::tools::{Printed, Seen, lines, tool};

/// The people, as examples/00-people.yaml has them.
const PEOPLE: [(&str, &[&str]); 4] =
    [("pat", &["platform"]), ("sam", &["security"]), ("alice", &["researchers"]), ("lea", &["leads"])];

/// What there is before the operator starts, in the order in which it is applied: an object of each kind.
const EXAMPLES: [&str; 8] = [
    "00-people.yaml",
    "10-infra.yaml",
    "20-policies.yaml",
    "peer/1-policy.yaml",
    "automatic/1-policy.yaml",
    "30-catalogue.yaml",
    "peer/2-catalogue.yaml",
    "automatic/2-catalogue.yaml",
];

/// Everything that people write.
pub const KINDS: [&str; 10] = [
    "researchnamespaces",
    "egressallowlists",
    "storageresources",
    "accessroles",
    "accesspolicies",
    "cloisterconfigs",
    "storageaccessgrants",
    "egressgrants",
    "rolegrants",
    "accessreviews",
];

/// See the module.
pub struct Stage {
    /// The cluster, with the operator in it.
    pub cluster: &'static TestCluster,
    /// What kstatus said before the operator was started.
    pub unseen: Vec<Seen>,
    /// What `kubectl get` printed then, for each kind.
    pub columns: Vec<(&'static str, String)>,
    folder: tempfile::TempDir,
}

/// The stage of this process.
pub async fn stage() -> &'static Stage {
    static STAGE: OnceCell<Result<Stage>> = OnceCell::const_new();
    match STAGE.get_or_init(Stage::set).await {
        Ok(stage) => stage,
        Err(error) => panic!("there is no stage: {error:#}"),
    }
}

impl Stage {
    async fn set() -> Result<Self> {
        let cluster = cluster().await;
        let folder = tempfile::tempdir()?;
        for (name, groups) in PEOPLE {
            let kubeconfig = cluster.inner().kubeconfig_for(name, groups).await?;
            fs::write(folder.path().join(name), serde_json::to_string(&kubeconfig)?)?;
        }
        fs::copy(cluster.inner().kubeconfig_path(), folder.path().join("admin"))?;
        let mut stage = Stage { cluster, unseen: Vec::new(), columns: Vec::new(), folder };
        let root = workspace_root()?;
        for file in EXAMPLES {
            let text = fs::read_to_string(root.join("examples").join(file))?;
            stage.ok("admin", &["apply", "--server-side", "-f", "-"], &text)?;
        }
        stage.ok("admin", &["create", "-f", "-"], &one_of_each())?;
        stage.unseen = stage.kstatus()?;
        for kind in KINDS {
            stage.columns.push((kind, stage.ok("admin", &["get", kind, "-A"], "")?));
        }
        world().await;
        Ok(stage)
    }

    /// The kubeconfig of somebody.
    pub fn kubeconfig(&self, who: &str) -> PathBuf {
        self.folder.path().join(who)
    }

    /// Writes the kubeconfig of a ServiceAccount, under its name.
    pub async fn account(&self, namespace: &str, name: &str) -> Result<()> {
        let kubeconfig = self.cluster.inner().service_account_kubeconfig(namespace, name).await?;
        Ok(fs::write(self.kubeconfig(name), serde_json::to_string(&kubeconfig)?)?)
    }

    /// Runs kubectl as somebody.
    pub fn kubectl(&self, who: &str, arguments: &[&str], input: &str) -> Result<Printed> {
        let mut command = Command::new(build_kubectl()?);
        command.args(arguments).current_dir(workspace_root()?);
        command.env("KUBECONFIG", self.kubeconfig(who)).env("KUBECTL_APPLYSET", "true");
        run(command, input)
    }

    /// The same, where it must succeed.
    pub fn ok(&self, who: &str, arguments: &[&str], input: &str) -> Result<String> {
        let printed = self.kubectl(who, arguments, input)?;
        ensure!(printed.success, "kubectl {} as {who}: {}\n{input}", arguments.join(" "), printed.text);
        Ok(printed.text)
    }

    /// Does with a set of manifests as Flux does: `apply`, `wait` or `prune`.
    pub fn flux(&self, who: &str, verb: &str, manifests: &str) -> Result<Printed> {
        let kubeconfig = self.kubeconfig(who);
        tool(&["ssa", verb, &kubeconfig.to_string_lossy()], manifests)
    }

    /// What kstatus says of all objects that there are.
    pub fn kstatus(&self) -> Result<Vec<Seen>> {
        let list = self.ok("admin", &["get", &KINDS.join(","), "-A", "-o", "json"], "")?;
        kstatus(&list)
    }
}

/// Runs the one that validates as kubectl-validate does.
pub fn validate(crds: &Path, input: &str) -> Result<Printed> {
    let mut command = Command::new(build_validate()?);
    command.arg(crds);
    run(command, input)
}

/// A ResearchNamespace, and an object of each kind that is in a namespace.
fn one_of_each() -> String {
    let digest = format!("v1:sha256:{}", "0".repeat(64));
    let ask = |kind: &str, name: &str, more: Value| {
        let mut spec = json!({"justification": "to be seen"});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        json!({"apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "plain"}, "spec": spec})
    };
    let rule = json!({"name": "lab", "networks": ["192.0.2.0/24"], "ports": [{"port": 22, "protocol": "TCP"}]});
    let subjects = json!([{"kind": "User", "name": "alice"}]);
    let items = json!([
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "plain"}},
        {"apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace", "metadata": {"name": "lab", "labels": {"team": "lab"}}, "spec": {
            "tier": "Standard",
            "members": [
                {"role": "Owner", "subjects": [{"kind": "User", "name": "lea"}]},
                {"role": "Researcher", "subjects": [{"kind": "User", "name": "alice"}]},
            ],
        }},
        ask("StorageAccessGrant", "data", json!({"storage": "eval-datasets", "role": "reader", "subjects": subjects})),
        ask("EgressGrant", "lab", json!({"rule": rule})),
        ask("RoleGrant", "debug", json!({"role": "namespace-debugger", "subjects": subjects})),
        {"apiVersion": "cloister.dev/v1alpha1", "kind": "AccessReview", "metadata": {"name": "early", "namespace": "plain"}, "spec": {
            "requestRef": {"kind": "RoleGrant", "name": "debug", "uid": "00000000-0000-0000-0000-000000000000"},
            "digest": digest, "decision": "Approve",
        }},
    ]);
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}
