//! `cargo xtask cluster`. Standard output carries what a script reads, and nothing else.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::HumanDuration;

use super::process::Report;
use super::registry::{Entry, Found};
use super::{Cluster, DEFAULT_NAME, Error, Options, blocking};

/// The arguments of `cargo xtask cluster`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Use the cluster of this kubeconfig's current context instead of an embedded one
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Start a cluster; it runs until Ctrl-C, or until `down` with --detach
    Up {
        /// Leave it running, and print KUBECONFIG=<path>
        #[arg(long)]
        detach: bool,
        /// Write an audit log at level Metadata to this file
        #[arg(long, value_name = "FILE")]
        audit_log: Option<PathBuf>,
        /// Let the API server believe the tokens that this AuthenticationConfiguration (apiserver.config.k8s.io/v1) describes
        #[arg(long, value_name = "FILE")]
        authentication_config: Option<PathBuf>,
        /// Write the components' logs to this folder and keep them
        #[arg(long, value_name = "DIR")]
        log_dir: Option<PathBuf>,
        #[command(flatten)]
        named: Named,
    },
    /// End a cluster and remove all that it wrote
    Down(Named),
    /// List the clusters
    Status,
    /// Print a kubeconfig: the administrator's, or somebody's
    Kubeconfig {
        /// The user to be; the certificate is good for a day
        #[arg(long)]
        user: Option<String>,
        /// A group to be in; may be given several times
        #[arg(long, requires = "user")]
        group: Vec<String>,
        #[command(flatten)]
        named: Named,
    },
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The name of the cluster
    #[arg(long, default_value = DEFAULT_NAME)]
    name: String,
}

/// Runs `cargo xtask cluster`.
pub async fn run(args: Args) -> Result<()> {
    let own = args.kubeconfig;
    match args.verb {
        Verb::Up { detach, audit_log, authentication_config, log_dir, named } => match own {
            Some(path) => up_own(path).await,
            None => {
                let options =
                    Options { name: named.name, audit_log, authentication_config, log_dir, ..Options::default() };
                if detach { up_detached(options).await } else { up_attached(options).await }
            }
        },
        Verb::Down(_) if own.is_some() => {
            eprintln!("this is a cluster of your own: it is left alone");
            Ok(())
        }
        Verb::Down(named) => down(named.name).await,
        Verb::Status => match own {
            Some(path) => status_own(path).await,
            None => status(),
        },
        Verb::Kubeconfig { user, group, named } => {
            let cluster = match own {
                Some(path) => Cluster::from_kubeconfig(path)?,
                None => Cluster::connect(&named.name)?,
            };
            print_kubeconfig(&cluster, user, &group).await
        }
    }
}

async fn up_detached(options: Options) -> Result<()> {
    let entry = Entry::of(&options.name)?;
    let name = options.name.clone();
    match Cluster::start_detached(options).await {
        Ok(_) => eprintln!("cluster {name:?} is ready; end it with `cargo xtask cluster down --name {name}`"),
        Err(Error::AlreadyRunning { .. }) => eprintln!("cluster {name:?} is running already"),
        Err(error) => return Err(error.into()),
    }
    println!("KUBECONFIG={}", entry.kubeconfig().display());
    Ok(())
}

async fn up_attached(options: Options) -> Result<()> {
    let entry = Entry::of(&options.name)?;
    let name = options.name.clone();
    if entry.running().is_some() {
        eprintln!("cluster {name:?} is running already");
        println!("KUBECONFIG={}", entry.kubeconfig().display());
        return Ok(());
    }
    let mut interrupted = std::pin::pin!(end_signal());
    let mut cluster = tokio::select! {
        started = Cluster::start(options) => started?,
        signal = &mut interrupted => return signal,
    };
    let (Some(report), Some(mut attached)) = (cluster.report.take(), cluster.attached.take()) else {
        bail!("an embedded cluster has no process; please report this");
    };
    entry.register(&report)?;
    println!("KUBECONFIG={}", entry.kubeconfig().display());
    eprintln!("cluster {name:?} is ready; Ctrl-C ends it");
    let ended = loop {
        tokio::select! {
            signal = &mut interrupted => { signal?; break None; }
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        if let Some(ended) = attached.ended() {
            break Some(ended);
        }
    };
    blocking(move || {
        attached.stop()?;
        entry.unregister(&report)
    })
    .await?;
    match ended {
        // By itself, or by `down`.
        Some((status, words)) if !status.success() => {
            bail!("the cluster ended ({status}):\n{words}")
        }
        _ => eprintln!("cluster {name:?} has ended"),
    }
    Ok(())
}

async fn end_signal() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("cannot listen for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}

async fn up_own(path: PathBuf) -> Result<()> {
    let version = version(&path).await?;
    eprintln!("your cluster answers: Kubernetes {version}");
    println!("KUBECONFIG={}", std::path::absolute(&path)?.display());
    Ok(())
}

async fn version(path: &PathBuf) -> Result<String> {
    let client = Cluster::from_kubeconfig(path)?.admin_client().await?;
    let version = client.apiserver_version().await;
    let version = version.with_context(|| format!("the cluster of {} does not answer", path.display()))?;
    Ok(version.git_version)
}

async fn down(name: String) -> Result<()> {
    let entry = Entry::of(&name)?;
    match blocking(move || entry.stop()).await? {
        Found::Running => eprintln!("cluster {name:?} has ended"),
        Found::Dead => eprintln!("cluster {name:?} had ended already; what it left is removed"),
        Found::Nothing => eprintln!("there is no cluster {name:?}: nothing to do"),
    }
    Ok(())
}

async fn status_own(path: PathBuf) -> Result<()> {
    println!("{}: Kubernetes {}", path.display(), version(&path).await?);
    Ok(())
}

fn status() -> Result<()> {
    let entries = Entry::all()?;
    if entries.is_empty() {
        eprintln!("no cluster; start one with `cargo xtask cluster up --detach`");
        return Ok(());
    }
    let row = |cells: [&str; 5]| {
        let [name, state, since, server, kubeconfig] = cells;
        println!("{name:<20} {state:<9} {since:<12} {server:<26} {kubeconfig}");
    };
    row(["NAME", "STATE", "AGE", "SERVER", "KUBECONFIG"]);
    for entry in entries {
        let report = entry.report();
        let state = if report.as_ref().is_some_and(Report::is_alive) { "Running" } else { "Dead" };
        let age = entry.since().and_then(|t| t.elapsed().ok()).map(|age| HumanDuration(age).to_string());
        let server = report.map(|r| r.server).unwrap_or_default();
        let path = entry.kubeconfig();
        row([&entry.name, state, &age.unwrap_or_default(), &server, &path.display().to_string()]);
    }
    Ok(())
}

async fn print_kubeconfig(cluster: &Cluster, user: Option<String>, groups: &[String]) -> Result<()> {
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let kubeconfig = match user {
        Some(user) => cluster.kubeconfig_for(&user, &groups).await?,
        None => cluster.admin_kubeconfig(),
    };
    // On one line each, as kubectl writes them.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let yaml = serde_saphyr::to_string_with_options(&kubeconfig, options).context("cannot write the kubeconfig")?;
    print!("{yaml}");
    Ok(())
}
