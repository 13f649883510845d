//! The embedded cluster, for real. The first run builds it, which takes some minutes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, Client};
use rustix::process::{Pid, Signal, kill_process};
use xtask::cluster::{Cluster, Error, Options, client};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn named(name: &str) -> Options {
    Options { name: name.to_owned(), ..Default::default() }
}

/// Who the API server says the client is: name and groups.
async fn whoami(client: Client) -> Result<(String, Vec<String>), kube::Error> {
    let review = Api::<SelfSubjectReview>::all(client).create(&PostParams::default(), &Default::default()).await?;
    let user = review.status.and_then(|s| s.user_info).unwrap_or_default();
    Ok((user.username.unwrap_or_default(), user.groups.unwrap_or_default()))
}

fn is_forbidden<T>(result: &Result<T, kube::Error>) -> bool {
    matches!(result, Err(kube::Error::Api(status)) if status.is_forbidden())
}

fn data_dir(cluster: &Cluster) -> PathBuf {
    cluster.kubeconfig_path().parent().unwrap_or(Path::new("")).to_owned()
}

#[tokio::test]
async fn people_are_who_their_kubeconfig_says() -> Outcome {
    let dir = tempfile::tempdir()?;
    let audit_log = dir.path().join("audit.log");
    let saved = dir.path().join("saved");
    let options = Options { audit_log: Some(audit_log.clone()), save_data: Some(saved.clone()), ..named("people") };
    let cluster = Cluster::start(options).await?;

    let admin = cluster.admin_client().await?;
    assert_eq!(admin.apiserver_version().await?.git_version, "v1.37.2");
    let namespaces = Api::<Namespace>::all(admin.clone()).list(&ListParams::default()).await?;
    assert!(namespaces.iter().any(|n| n.metadata.name.as_deref() == Some("default")));

    let alice = cluster.client_for("alice", &["researchers", "a, b"]).await?;
    let (name, groups) = whoami(alice.clone()).await?;
    assert_eq!(name, "alice");
    assert_eq!(groups, ["researchers", "a, b", "system:authenticated"]);
    let secrets = Api::<Secret>::namespaced(alice, "default").list(&ListParams::default()).await;
    assert!(is_forbidden(&secrets), "{secrets:?}");

    let metadata = ObjectMeta { name: Some("robot".to_owned()), ..Default::default() };
    let robot = ServiceAccount { metadata, ..Default::default() };
    Api::<ServiceAccount>::namespaced(admin.clone(), "default").create(&PostParams::default(), &robot).await?;
    let robot = client(cluster.service_account_kubeconfig("default", "robot").await?).await?;
    assert_eq!(whoami(robot).await?.0, "system:serviceaccount:default:robot");
    let nobody = cluster.service_account_kubeconfig("default", "nobody").await;
    assert!(nobody.is_err_and(|e| e.to_string().contains("default/nobody")));

    // The same, as for a cluster whose certificate authority is out of reach.
    let own = Cluster::from_kubeconfig(cluster.kubeconfig_path())?;
    let (name, groups) = whoami(own.client_for("bob", &["oncall", "security"]).await?).await?;
    assert_eq!(name, "bob");
    assert_eq!(groups, ["oncall", "security", "system:authenticated"]);

    let (pid, data) = (cluster.pid().ok_or("no pid")?, data_dir(&cluster));
    cluster.stop().await?;
    assert!(!data.exists() && !runs(pid));
    let audit = fs::read_to_string(audit_log)?;
    assert!(audit.lines().any(|l| l.contains("\"username\":\"alice\"") && l.contains("\"code\":403")));

    // Another begins with what this one stored, and trusts nobody that this one trusted.
    let next = Cluster::start(Options { data: Some(saved), ..named("next") }).await?;
    let admin = next.admin_client().await?;
    Api::<ServiceAccount>::namespaced(admin.clone(), "default").get("robot").await?;
    let trusted =
        Api::<ConfigMap>::namespaced(admin, "default").get("kube-root-ca.crt").await?.data.unwrap_or_default();
    assert_eq!(trusted["ca.crt"], fs::read_to_string(data_dir(&next).join("pki/ca.crt"))?);
    Ok(())
}

#[tokio::test]
async fn a_killed_cluster_leaves_nothing() -> Outcome {
    let killed = Cluster::start(named("killed")).await?;
    let (pid, data) = (killed.pid().ok_or("no pid")?, data_dir(&killed));
    let children = children(pid);
    assert_eq!(children.len(), 3, "the API server, the controller manager, the scheduler");
    kill_process(Pid::from_raw(i32::try_from(pid)?).ok_or("no pid")?, Signal::KILL)?;
    let began = Instant::now();
    while children.iter().any(|c| runs(*c)) {
        assert!(began.elapsed() < Duration::from_secs(5), "the children of a killed cluster live on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let (one, other) = tokio::try_join!(Cluster::start(named("one")), Cluster::start(named("other")))?;
    assert!(!data.exists(), "the next start removes the data of a killed cluster");
    for cluster in [&one, &other] {
        let metadata = ObjectMeta { name: Some("here".to_owned()), ..Default::default() };
        let namespace = Namespace { metadata, ..Default::default() };
        let created = Api::all(cluster.admin_client().await?).create(&PostParams::default(), &namespace).await;
        assert!(created.is_ok(), "each of two clusters has its own namespaces: {created:?}");
    }
    let ends = [(data_dir(&one), one.pid()), (data_dir(&other), other.pid())];
    drop((one, other, killed));
    for (data, pid) in ends {
        assert!(!data.exists() && !pid.is_some_and(runs), "a dropped cluster is gone");
    }
    Ok(())
}

#[test]
fn a_detached_cluster_is_found_by_its_name() -> Outcome {
    let name = format!("test-{}", std::process::id());
    let missing = Cluster::connect(&name);
    assert!(matches!(missing, Err(Error::NotRunning { .. })), "{missing:?}");

    let up = xtask(&["up", "--detach", "--name", &name])?;
    let line = stdout(&up);
    let path = line.strip_prefix("KUBECONFIG=").and_then(|l| l.strip_suffix('\n')).ok_or("no KUBECONFIG line")?;
    assert!(fs::metadata(path)?.is_file() && !path.contains('\n'));
    assert_eq!(stdout(&xtask(&["up", "--detach", "--name", &name])?), line, "a second `up` says the same");

    let person = xtask(&["kubeconfig", "--name", &name, "--user", "alice", "--group", "researchers"])?;
    let person = kube::config::Kubeconfig::from_yaml(&stdout(&person))?;
    assert_eq!(person.auth_infos[0].name, "alice");
    let status = stdout(&xtask(&["status"])?);
    assert!(status.lines().any(|l| l.starts_with(&name) && l.contains("Running")), "{status}");

    let cluster = Cluster::connect(&name)?;
    let pid = cluster.pid().ok_or("no pid")?;
    assert_eq!(cluster.kubeconfig_path(), Path::new(path));
    xtask(&["down", "--name", &name])?;
    assert!(!Path::new(path).exists() && !runs(pid));
    let again = xtask(&["down", "--name", &name])?;
    assert!(String::from_utf8(again.stderr)?.contains("there is no cluster"));
    Ok(())
}

/// Runs `cargo xtask cluster`, from elsewhere.
fn xtask(args: &[&str]) -> Result<Output, Box<dyn std::error::Error>> {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("cluster").args(args).current_dir("/").output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(output)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The state and the parent of a process: the fields after its name, which may itself hold a parenthesis.
fn stat(pid: u32) -> Option<(String, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != "Z")
}

fn children(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, p)| p == parent)).collect()
}
