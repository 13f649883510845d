//! Faults of the network, the clock and the rights of the operator, between it and an API server.

use anyhow::{Context, Result, ensure};
use cloister_api::{ResearchNamespace, RoleGrant};
use cloister_tests::{bare::Bare, eventually, ours::make, proxy::Proxy, scene::condition};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::Namespace,
    networking::v1::NetworkPolicy,
    rbac::v1::{ClusterRole, PolicyRule, RoleBinding},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use std::time::{Duration, Instant};
use xtask::operator::Operator;

/// A research namespace and what can be asked for in it, in a cluster whose operator is reached through a proxy.
struct Scene {
    bare: Bare,
    proxy: Proxy,
}

impl Scene {
    async fn new(name: &str) -> Result<Self> {
        let bare = Bare::start(name).await?;
        let proxy = Proxy::start(&bare.cluster).await?;
        let scene = Scene { bare, proxy };
        let policy = json!({
            "requesters": [{"kind": "Group", "name": "system:masters"}], "maxDuration": "1h", "autoApprove": ["true"],
        });
        make(&scene.bare.admin, "AccessPolicy", None, "auto", policy).await?;
        let role = json!({"clusterRole": "cloister:debugger", "accessPolicy": "auto"});
        make(&scene.bare.admin, "AccessRole", None, "debugger", role).await?;
        Ok(scene)
    }

    async fn operator(&self) -> Result<Operator> {
        self.bare.operator_through(&self.proxy, &[]).await
    }

    async fn declare(&self, name: &str) -> Result<()> {
        let spec = json!({"tier": "Standard", "serviceAccounts": [{"name": "trainer"}]});
        make(&self.bare.admin, "ResearchNamespace", None, name, spec).await
    }

    async fn enforced(&self, name: &str) -> Result<()> {
        self.says::<ResearchNamespace>(&Api::all(self.bare.admin.clone()), name, "Ready", "Reconciled").await
    }

    /// Asks for a role until an end that is so many seconds away.
    async fn ask(&self, namespace: &str, name: &str, seconds: u32) -> Result<()> {
        let subjects = json!([{"kind": "ServiceAccount", "name": "trainer"}]);
        let spec = json!({"role": "debugger", "subjects": subjects, "requestedDuration": format!("{seconds}s")});
        make(&self.bare.admin, "RoleGrant", Some(namespace), name, spec).await
    }

    fn grants(&self, namespace: &str) -> Api<RoleGrant> {
        Api::namespaced(self.bare.admin.clone(), namespace)
    }

    fn bindings(&self, namespace: &str) -> Api<RoleBinding> {
        Api::namespaced(self.bare.admin.clone(), namespace)
    }

    async fn opens(&self, namespace: &str, name: &str) -> Result<jiff::Timestamp> {
        self.says(&self.grants(namespace), name, "Ready", "Active").await?;
        self.bindings(namespace).get(&format!("cloister-role-grant.{name}")).await?;
        let status = self.grants(namespace).get(name).await?.status.context("it has no status")?;
        Ok(status.expires_at.context("it has no end")?.0)
    }

    /// Waits until what a grant opened is gone.
    async fn closes(&self, namespace: &str, name: &str) -> Result<()> {
        eventually(&format!("{name} to be closed"), async || {
            let left = self.bindings(namespace).get_opt(&format!("cloister-role-grant.{name}")).await?;
            ensure!(left.is_none(), "its binding stands");
            Ok(())
        })
        .await
    }

    async fn says<K>(&self, api: &Api<K>, name: &str, type_: &str, reason: &str) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
    {
        eventually(&format!("{name} to say {reason}"), async || {
            let object = api.get(name).await?;
            let found = condition(&object, type_).with_context(|| format!("there is no condition {type_}"))?;
            ensure!(found.reason == reason, "it says {}: {}", found.reason, found.message);
            Ok(())
        })
        .await
    }

    async fn policies(&self, namespace: &str) -> Result<Vec<(String, Option<String>)>> {
        let api: Api<NetworkPolicy> = Api::namespaced(self.bare.admin.clone(), namespace);
        let all = api.list(&ListParams::default()).await?;
        Ok(all.iter().map(|policy| (policy.name_any(), policy.resource_version())).collect())
    }
}

async fn says_readiness(operator: &Operator, code: u16, text: &str) -> Result<()> {
    eventually(&format!("readiness to say {code} {text}"), async || {
        let (is, said) = operator.get("/readyz").await?;
        ensure!(is == code && said.contains(text), "it says {is} {said}");
        Ok(())
    })
    .await
}

async fn alerts(operator: &Operator, alert: &str, wanted: bool) -> Result<()> {
    eventually(&format!("the alert {alert} to be {wanted}"), async || {
        let count = operator.metric("cloister_alerts", alert).await?;
        ensure!((count > 0.0) == wanted, "it is {count}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn clocks_that_disagree_open_nothing_and_close_nothing() -> Result<()> {
    let scene = Scene::new("clocks").await?;
    let operator = scene.operator().await?;
    scene.declare("lab").await?;
    scene.enforced("lab").await?;
    scene.ask("lab", "standing", 3600).await?;
    scene.opens("lab", "standing").await?;
    let before = scene.policies("lab").await?;
    assert!(before.len() >= 3, "{before:?}");

    // One answer of an hour ahead, and then a third of them a minute behind, are no clock.
    scene.proxy.shift_dates(|number| {
        if number == 0 {
            3600
        } else if number % 3 == 0 {
            -60
        } else {
            0
        }
    });
    scene.declare("meanwhile").await?;
    scene.enforced("meanwhile").await?;
    scene.ask("lab", "short", 6).await?;
    let end = scene.opens("lab", "short").await?;
    ensure!(jiff::Timestamp::now() < end, "it ended before its time");
    scene.closes("lab", "short").await?;
    ensure!(jiff::Timestamp::now() >= end, "it was closed before its time");
    ensure!(jiff::Timestamp::now() < end + jiff::SignedDuration::from_secs(10), "it was kept open past its time");
    alerts(&operator, "ClockSkew", false).await?;
    operator.stop().await?;

    // An operator whose clock is not the API server's from the start opens nothing, and closes nothing that stands.
    scene.proxy.shift_dates(|_| 90);
    let mut operator = scene.bare.spawn_through(&scene.proxy, &[]).await?;
    says_readiness(&operator, 503, "differ by more than").await?;
    alerts(&operator, "ClockSkew", true).await?;
    scene.declare("later").await?;
    scene.ask("lab", "waiting", 3600).await?;
    scene.says(&scene.grants("lab"), "waiting", "Ready", "ClockSkew").await?;
    scene.says::<ResearchNamespace>(&Api::all(scene.bare.admin.clone()), "later", "Ready", "ClockSkew").await?;
    assert_eq!(scene.policies("lab").await?, before, "what stands is not touched");
    scene.bindings("lab").get("cloister-role-grant.standing").await?;
    ensure!(operator.ended()?.is_none());
    // The deny and the seal are nothing that opens.
    let deny = scene.policies("later").await?;
    assert_eq!(deny.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["cloister-deny-all"]);

    // When they agree again, what waited is looked at at once.
    scene.proxy.heal();
    scene.enforced("later").await?;
    scene.opens("lab", "waiting").await?;
    says_readiness(&operator, 200, "ok").await?;
    alerts(&operator, "ClockSkew", false).await?;
    assert_eq!(scene.policies("lab").await?, before);
    operator.stop().await?;
    scene.bare.give_back().await
}

#[tokio::test]
async fn connections_that_are_silently_dead_are_noticed() -> Result<()> {
    let scene = Scene::new("dead").await?;
    let operator = scene.operator().await?;
    scene.declare("lab").await?;
    scene.enforced("lab").await?;
    scene.ask("lab", "run", 12).await?;
    let end = scene.opens("lab", "run").await?;
    let began = Instant::now();
    scene.proxy.blackhole_existing();
    scene.declare("later").await?;
    scene.closes("lab", "run").await?;
    let late = jiff::Timestamp::now().duration_since(end);
    ensure!(late < jiff::SignedDuration::from_secs(20), "the grant ended {late} late");
    scene.enforced("later").await?;
    ensure!(began.elapsed() < Duration::from_secs(60), "it took {:?}", began.elapsed());
    says_readiness(&operator, 200, "ok").await?;
    operator.stop().await?;
    scene.bare.give_back().await
}

#[tokio::test]
async fn an_api_server_that_is_back_finds_nobody_waiting() -> Result<()> {
    let scene = Scene::new("back").await?;
    let operator = scene.operator().await?;
    scene.declare("lab").await?;
    scene.enforced("lab").await?;
    scene.ask("lab", "run", 8).await?;
    let end = scene.opens("lab", "run").await?;
    scene.proxy.refuse();
    scene.declare("later").await?;
    // Long enough for the waits between tries to have grown.
    eventually("the API server to have been away for a while", async || {
        ensure!(jiff::Timestamp::now() > end + jiff::SignedDuration::from_secs(30), "not yet");
        Ok(())
    })
    .await?;
    scene.bindings("lab").get("cloister-role-grant.run").await.context("nobody could take it")?;
    scene.proxy.heal();
    let back = Instant::now();
    scene.closes("lab", "run").await?;
    ensure!(back.elapsed() < Duration::from_secs(5), "the grant ended {:?} after it was back", back.elapsed());
    scene.enforced("later").await?;
    ensure!(back.elapsed() < Duration::from_secs(30), "it took {:?}", back.elapsed());
    says_readiness(&operator, 200, "ok").await?;
    operator.stop().await?;
    scene.bare.give_back().await
}

#[tokio::test]
async fn a_kind_that_cannot_be_listed_holds_up_only_what_depends_on_it() -> Result<()> {
    let scene = Scene::new("unlisted").await?;
    let operator = scene.operator().await?;
    scene.declare("lab").await?;
    scene.enforced("lab").await?;
    scene.ask("lab", "overdue", 5).await?;
    let end = scene.opens("lab", "overdue").await?;
    operator.kill()?;

    // The operator may read neither pods nor AccessRoles any more: the first are looked for when something ends, and the second
    // say what may be opened.
    let roles: Api<ClusterRole> = Api::all(scene.bare.admin.clone());
    let rules = roles.get("cloister:operator").await?.rules.unwrap_or_default();
    let mut fewer = rules.clone();
    for rule in fewer.iter_mut().filter(|rule| rule.verbs.iter().any(|verb| verb == "list")) {
        rule.resources.iter_mut().for_each(|all| all.retain(|name| name != "pods" && name != "accessroles"));
    }
    fewer.retain(|rule| rule.resources.as_ref().is_none_or(|all| !all.is_empty()));
    let allow = async |rules: &[PolicyRule]| -> Result<()> {
        let patch = json!([{"op": "replace", "path": "/rules", "value": rules}]);
        let patch: json_patch::Patch = serde_json::from_value(patch)?;
        roles.patch("cloister:operator", &PatchParams::default(), &Patch::Json::<()>(patch)).await?;
        Ok(())
    };
    allow(&fewer).await?;
    eventually("the end to come", async || {
        ensure!(jiff::Timestamp::now() > end, "not yet");
        Ok(())
    })
    .await?;
    scene.declare("later").await?;
    scene.ask("lab", "waiting", 3600).await?;

    let began = Instant::now();
    let operator = scene.bare.spawn_through(&scene.proxy, &[]).await?;
    scene.closes("lab", "overdue").await?;
    ensure!(began.elapsed() < Duration::from_secs(15), "what was overdue was closed after {:?}", began.elapsed());
    scene.enforced("later").await.context("a namespace depends on neither")?;
    says_readiness(&operator, 503, "Pod").await?;
    says_readiness(&operator, 503, "AccessRole").await?;
    alerts(&operator, "WatchStale", true).await?;
    ensure!(
        scene.bindings("lab").get_opt("cloister-role-grant.waiting").await?.is_none(),
        "it opened what it cannot judge"
    );

    allow(&rules).await?;
    scene.opens("lab", "waiting").await?;
    says_readiness(&operator, 200, "ok").await?;
    alerts(&operator, "WatchStale", false).await?;
    operator.stop().await?;
    scene.bare.give_back().await
}

#[tokio::test]
async fn of_two_operators_one_acts() -> Result<()> {
    let scene = Scene::new("two").await?;
    let first = scene.bare.operator_through(&scene.proxy, &["--identity", "first"]).await?;
    scene.declare("lab").await?;
    scene.enforced("lab").await?;
    let second = scene.bare.spawn_through(&scene.proxy, &["--identity", "second"]).await?;
    says_readiness(&second, 200, "standby: first").await?;
    let leases: Api<Lease> = Api::namespaced(scene.bare.admin.clone(), "cloister-system");
    let holder = async || -> Result<String> {
        let lease = leases.get("cloister-operator").await?;
        lease.spec.and_then(|spec| spec.holder_identity).context("nobody holds it")
    };
    assert_eq!(holder().await?, "first");
    scene.declare("one").await?;
    scene.enforced("one").await?;
    assert_eq!(second.metric("cloister_writes_total", "").await.unwrap_or_default(), 0.0, "the second writes nothing");

    // One that ends well leaves nobody waiting.
    let began = Instant::now();
    assert!(first.stop().await?.success());
    scene.declare("two").await?;
    scene.enforced("two").await?;
    ensure!(began.elapsed() < Duration::from_secs(12), "it took {:?}", began.elapsed());
    assert_eq!(holder().await?, "second");

    // One that is killed is waited for, but not by the one that takes its place.
    second.kill()?;
    let began = Instant::now();
    let mut second = scene.bare.operator_through(&scene.proxy, &["--identity", "second"]).await?;
    scene.declare("three").await?;
    scene.enforced("three").await?;
    ensure!(began.elapsed() < Duration::from_secs(12), "it took {:?}", began.elapsed());

    // Taken out of the Lease, it goes on: nobody else acts.
    let nobody = json!({"spec": {"holderIdentity": null}});
    leases.patch("cloister-operator", &PatchParams::default(), &Patch::Merge(&nobody)).await?;
    eventually("the Lease to be held again", async || {
        ensure!(holder().await? == "second");
        Ok(())
    })
    .await?;
    scene.declare("four").await?;
    scene.enforced("four").await?;
    ensure!(second.ended()?.is_none(), "{}", scene.bare.log());

    // Whoever loses the Lease ends at once.
    let stolen = json!({"spec": {"holderIdentity": "third", "acquireTime": "2026-01-01T00:00:00.000000Z"}});
    leases.patch("cloister-operator", &PatchParams::default(), &Patch::Merge(stolen)).await?;
    eventually("the operator to end", async || {
        let ended = second.ended()?.context("it goes on")?;
        ensure!(!ended.success(), "it ended well");
        Ok(())
    })
    .await?;
    ensure!(scene.bare.log().contains("third holds Lease"), "{}", scene.bare.log());
    // Nobody has taken what stands away.
    Api::<Namespace>::all(scene.bare.admin.clone()).get("lab").await?;
    leases.patch("cloister-operator", &PatchParams::default(), &Patch::Merge(nobody)).await?;
    scene.bare.give_back().await
}
