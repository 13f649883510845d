//! `cargo demo`: starts a cluster and the operator, applies the examples, and prints what a watch of the cluster reports. It
//! fails if anything that it prints did not happen.

mod decisions;
pub mod examples;
mod record;
pub mod say;
pub mod see;
mod stage;
mod story;

use crate::{
    cluster::{self, Cluster, Options, workspace_root},
    install::{self, Parts},
    operator::{self, Operator},
};
use anyhow::{Context, Result, ensure};
use say::Say;
use see::Watch;
use stage::{Person, Stage};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The name of the cluster of the demo.
const NAME: &str = "demo";

/// The options of `cargo demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Keep the cluster and the operator running until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// Runs the demo.
///
/// # Errors
///
/// The cluster cannot be set up, or something that the demo prints did not happen.
pub async fn run(args: &Args) -> Result<()> {
    let mut say =
        Say::begin("Cloister: research namespaces that are closed by default, with access that is approved and ends");
    let (log, audit) = (new_file("operator.log")?, new_file("audit.jsonl")?);
    let (cluster, mut operator) = set_up(&mut say, args.keep, &log, &audit).await?;
    let told = tell(&mut say, &cluster, &operator, &audit).await;
    if let Some(status) = operator.ended()? {
        return told.context(format!("the operator ended ({status}); its log is {}", log.display()));
    }
    let told = told.with_context(|| format!("the demo failed; the operator's log is {}", log.display()));
    if args.keep {
        if let Err(error) = &told {
            say.line(&format!("\nerror: {error:#}"));
        }
        wait_in_the_cluster(&say, &cluster, &mut operator).await?;
    }
    operator.stop().await?;
    cluster.stop().await?;
    told
}

async fn set_up(say: &mut Say, keep: bool, log: &Path, audit: &Path) -> Result<(Cluster, Operator)> {
    let doing = say.doing("building the operator (the first time, this takes some minutes)");
    let binary = tokio::task::spawn_blocking(operator::build).await??;
    doing.done("the operator is built");

    // Prints its own progress if there is something to build.
    tokio::task::spawn_blocking(cluster::build).await??;
    say.built();
    let doing = say.doing("starting a Kubernetes control plane on this machine");
    let options = Options { name: NAME.to_owned(), ..Options::default() };
    let cluster = if keep { Cluster::start_detached(options).await? } else { Cluster::start(options).await? };
    let admin = cluster.admin_client().await?;
    let version = admin.apiserver_version().await?.git_version;
    doing.done(&format!("Kubernetes {version} runs on this machine: etcd, API server, controllers, scheduler"));

    let doing = say.doing("installing deploy/");
    let deploy = workspace_root()?.join("deploy");
    install::install(&admin, &deploy, Parts::WithoutWorkloads).await?;
    let installed = install::load(&deploy)?;
    let count = |suffix: &str| {
        installed.iter().filter(|object| object.types.as_ref().is_some_and(|t| t.kind.ends_with(suffix))).count()
    };
    let (kinds, policies) = (count("CustomResourceDefinition"), count("AdmissionPolicy"));
    doing.done(&format!("deploy/ is installed: {kinds} kinds, {policies} admission policies, no webhook"));

    let doing = say.doing("starting the operator");
    let operator = Operator::start(&binary, &cluster, log, &["--audit", &audit.to_string_lossy()]).await?;
    doing.done("the operator runs, with only the permissions of its ServiceAccount");
    Ok((cluster, operator))
}

async fn tell(say: &mut Say, cluster: &Cluster, operator: &Operator, audit: &Path) -> Result<()> {
    let person = async |name: &'static str, groups: &[&str]| -> Result<Person> {
        Ok(Person { name, client: cluster.client_for(name, groups).await? })
    };
    let admin = Person { name: "the administrator", client: cluster.admin_client().await? };
    let stage = Stage {
        watch: Watch::start(&admin.client).await?,
        admin,
        pat: person("pat", &["platform"]).await?,
        sam: person("sam", &["security"]).await?,
        alice: person("alice", &["researchers", "weights-owners"]).await?,
        olga: person("olga", &["security", "weights-owners"]).await?,
        otto: person("otto", &["weights-owners"]).await?,
        ida: person("ida", &["oncall"]).await?,
        operator,
        audit,
    };
    story::tell(&stage, say).await
}

async fn wait_in_the_cluster(say: &Say, cluster: &Cluster, operator: &mut Operator) -> Result<()> {
    say.line("");
    say.line("  The cluster and the operator run until you press Ctrl-C. In another terminal, try:");
    say.line("");
    say.line(&format!("    export KUBECONFIG={}", cluster.kubeconfig_path().display()));
    say.line("    kubectl get cloister -A");
    say.line("    kubectl describe researchnamespace interp");
    say.line("    kubectl get networkpolicies -n interp");
    say.line("");
    say.line("  Or as alice, who may request access in interp:");
    say.line("");
    let alice = std::env::temp_dir().join("alice.kubeconfig");
    let alice = alice.display();
    say.line(&format!("    cargo xtask cluster kubeconfig --name {NAME} --user alice --group researchers > {alice}"));
    say.line(&format!("    export KUBECONFIG={alice}"));
    let request = "examples/automatic/3-request.yaml";
    say.line(&format!("    kubectl delete -f {request}; kubectl create -f {request}"));
    say.line("    kubectl get storageaccessgrants -n interp --watch");
    say.line("");
    loop {
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => {
                pressed?;
                say.line("");
                return Ok(());
            }
            () = tokio::time::sleep(std::time::Duration::from_millis(500)) => {}
        }
        let ended = operator.ended()?;
        ensure!(ended.is_none(), "the operator ended; the end of its log:\n{}", operator.log_end());
    }
}

/// A file that the operator writes: a new one for each run.
fn new_file(name: &str) -> Result<PathBuf> {
    let folder = workspace_root()?.join("target/demo");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(name);
    fs::write(&file, "").with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}
