//! Starts while much is written: each gets ready, ends what ends, answers and stops when it is told to.

use crate::stage::{LATE, Reach, Stage};
use anyhow::{Context, Result, ensure};
use cloister_api::GrantKind;
use cloister_tests::{eventually, scene::pod};
use jiff::SignedDuration;
use k8s_openapi::api::{
    core::v1::{ConfigMap, Pod},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

const CROWD: &str = "crowd";

/// How often it is started.
const STARTS: usize = 12;

/// How many objects of each kind are written, in turn.
const OBJECTS: u64 = 20;

/// How often one of a kind is written.
const TICK: Duration = Duration::from_millis(10);

/// How many writes of others there are at least from one start to the next.
const LOAD: u64 = 4 * OBJECTS;

/// How long an answer may take on a busy machine.
const ANSWER: Duration = Duration::from_secs(5);

/// What others write.
#[derive(Default)]
struct Load {
    tasks: JoinSet<Result<()>>,
    writes: Arc<AtomicU64>,
}

impl Load {
    /// Writes annotations of these objects, one after the other.
    fn write<K>(&mut self, api: Api<K>)
    where
        K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let writes = self.writes.clone();
        self.tasks.spawn(async move {
            let mut tick = interval(TICK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for at in 0.. {
                tick.tick().await;
                let patch = json!({"metadata": {"annotations": {"example.com/at": at.to_string()}}});
                api.patch(&format!("load-{}", at % OBJECTS), &PatchParams::default(), &Patch::Merge(&patch)).await?;
                writes.fetch_add(1, Relaxed);
            }
            Ok(())
        });
    }
}

async fn make<K>(api: &Api<K>, object: impl Fn(&str) -> serde_json::Value) -> Result<()>
where
    K: Clone + Debug + DeserializeOwned + serde::Serialize,
{
    for at in 0..OBJECTS {
        let object: K = serde_json::from_value(object(&format!("load-{at}")))?;
        api.create(&PostParams::default(), &object).await?;
    }
    Ok(())
}

/// Pods, requests that nobody decides, ConfigMaps, and policies of somebody else's namespace.
async fn load(stage: &Stage) -> Result<Load> {
    let admin = || stage.bare.admin.clone();
    let pods: Api<Pod> = Api::namespaced(admin(), CROWD);
    make(&pods, |name| json!(pod(name, "trainer-0"))).await?;
    let grants: Api<DynamicObject> = stage.api("RoleGrant", Some(CROWD));
    make(&grants, |name| {
        let spec = json!({
            "role": "none", "subjects": [{"kind": "User", "name": "alice"}], "justification": "chaos",
        });
        json!({"apiVersion": "cloister.dev/v1alpha1", "kind": "RoleGrant", "metadata": {"name": name}, "spec": spec})
    })
    .await?;
    let configs: Api<ConfigMap> = Api::namespaced(admin(), CROWD);
    make(&configs, |name| json!({"metadata": {"name": name}})).await?;
    let policies: Api<NetworkPolicy> = Api::namespaced(admin(), "default");
    make(&policies, |name| json!({"metadata": {"name": name}, "spec": {"podSelector": {}}})).await?;
    let mut load = Load::default();
    load.write(pods);
    load.write(grants);
    load.write(configs);
    load.write(policies);
    Ok(load)
}

/// What took longest.
#[derive(Default)]
struct Longest {
    ready: Duration,
    stopped: Duration,
    late: SignedDuration,
}

async fn is_alive(stage: &Stage) -> Result<()> {
    for page in ["/livez", "/readyz", "/metrics"] {
        let asked = timeout(ANSWER, stage.operator()?.get(page)).await;
        let (code, said) = asked.with_context(|| format!("{page} does not answer"))??;
        ensure!(code == 200, "{page} says {code} {said}");
    }
    Ok(())
}

/// Stops the operator, starts another, and sees that it ends a grant on time while others write.
async fn start(stage: &mut Stage, kind: GrantKind, writes: &AtomicU64, longest: &mut Longest) -> Result<()> {
    let (before, since) = (writes.load(Relaxed), Instant::now());
    let ended = stage.operator.take().context("no operator runs")?.stop().await?;
    ensure!(ended.success(), "it ended with {ended}");
    longest.stopped = longest.stopped.max(since.elapsed());
    let since = Instant::now();
    stage.start_operator().await?;
    longest.ready = longest.ready.max(since.elapsed());
    is_alive(stage).await?;
    let asked = stage.ask(kind, "lab", 2).await?;
    let closed = eventually("it to be closed", async || stage.closed_at(&asked)).await?;
    longest.late = longest.late.max(closed.duration_since(asked.end));
    eventually("others to have written", async || {
        let since = writes.load(Relaxed) - before;
        ensure!(since >= LOAD, "they have written {since} times");
        Ok(())
    })
    .await?;
    is_alive(stage).await
}

#[tokio::test]
async fn every_start_while_much_is_written_gets_ready_and_ends_what_ends() -> Result<()> {
    // Each line of the log is written, so that what it reads is read.
    let mut stage = Stage::start("chaos-starts", &["--log", "info,cloister_controller=trace"]).await?;
    stage.declare(CROWD).await?;
    stage.converged().await?;
    let mut load = load(&stage).await?;
    let writes = load.writes.clone();
    let mut longest = Longest::default();
    let mut rate = 0.0;
    let nothing = async |_: &mut Stage| Ok(());
    stage
        .play(
            &format!("{STARTS} starts while others write"),
            Reach::CutOff,
            nothing,
            Duration::from_secs(1),
            async |stage| {
                let (before, since) = (writes.load(Relaxed), Instant::now());
                for (at, kind) in GrantKind::ALL.into_iter().cycle().take(STARTS).enumerate() {
                    start(stage, kind, &writes, &mut longest).await.with_context(|| format!("start {at}"))?;
                }
                rate = (writes.load(Relaxed) - before) as f64 / since.elapsed().as_secs_f64();
                if let Some(ended) = load.tasks.try_join_next() {
                    ended?.context("others write no more")?;
                }
                load.tasks.abort_all();
                Ok(())
            },
        )
        .await?;
    let Longest { ready, stopped, late } = longest;
    println!(
        "{STARTS} starts while others write {rate:.0} times a second: ready after {:.1} s at most, stopped after {:.1} s, the \
         latest end {:.1} s after its time",
        ready.as_secs_f64(),
        stopped.as_secs_f64(),
        late.as_secs_f64()
    );
    ensure!(late <= LATE, "that is too late");
    Ok(())
}
