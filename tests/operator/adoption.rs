//! A Namespace that was there before becomes a research namespace: only when nothing stands there that was not checked.

use anyhow::{Context, Result, ensure};
use cloister_api::{CloisterConfig, ResearchNamespace, RoleGrant};
use cloister_tests::{
    bare::Bare,
    denied, eventually,
    scene::{Scene, condition, pod},
    unique,
};
use futures::future::join_all;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenReview},
    batch::v1::CronJob,
    core::v1::{LimitRange, Namespace, PersistentVolumeClaim, Pod, ResourceQuota, Secret, Service, ServiceAccount},
    discovery::v1::EndpointSlice,
    networking::v1::{Ingress, NetworkPolicy},
    rbac::v1::{ClusterRole, Role, RoleBinding},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{fmt::Debug, time::Duration};
use xtask::{
    cluster::workspace_root,
    install::{self, Parts},
};

const RBAC: &str = "rbac.authorization.k8s.io";

async fn make<K>(client: &Client, namespace: &str, object: Value) -> Result<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    Ok(api.create(&PostParams::default(), &serde_json::from_value(object)?).await?)
}

async fn plain(client: &Client, name: &str) -> Result<()> {
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
    eventually("the default ServiceAccount", async || Ok(accounts.get("default").await.map(drop)?)).await
}

async fn offer(client: &Client, name: &str) -> Result<()> {
    let annotation = json!({"metadata": {"annotations": {"cloister.dev/adopt": name}}});
    let api: Api<Namespace> = Api::all(client.clone());
    api.patch(name, &PatchParams::default(), &Patch::Merge(annotation)).await?;
    Ok(())
}

fn research(name: &str) -> Result<ResearchNamespace> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace", "metadata": {"name": name},
        "spec": {"tier": "Standard"},
    }))?)
}

async fn ready(client: &Client, name: &str) -> Result<(String, String)> {
    let object = Api::<ResearchNamespace>::all(client.clone()).get(name).await?;
    let ready = condition(&object, "Ready").context("nothing is said of it")?;
    Ok((ready.reason, ready.message))
}

async fn until_told(client: &Client, name: &str, reason: &str, texts: &[&str]) -> Result<()> {
    eventually(&format!("{name} to say {reason}"), async || {
        let (is, message) = ready(client, name).await?;
        ensure!(is == reason, "{is}: {message}");
        for text in texts {
            ensure!(message.contains(text), "{text} is not in {message}");
        }
        Ok(())
    })
    .await
}

async fn until_taken_over(client: &Client, name: &str) -> Result<()> {
    eventually(&format!("{name} to be taken over"), async || {
        let (reason, message) = ready(client, name).await?;
        ensure!(reason == "Reconciled", "{reason}: {message}");
        let labels = Api::<Namespace>::all(client.clone()).get(name).await?.metadata.labels.unwrap_or_default();
        ensure!(labels.get("cloister.dev/enforced").map(String::as_str) == Some("true"), "{labels:?}");
        ensure!(!labels.contains_key("cloister.dev/adopting"), "{labels:?}");
        Ok(())
    })
    .await
}

fn marked(name: &str, of: &str) -> Value {
    json!({"name": name, "labels": {
        "app.kubernetes.io/managed-by": "cloister", "cloister.dev/grant": "ghost", "cloister.dev/grant-kind": of,
    }})
}

fn admin_of(metadata: Value, user: &str) -> Value {
    json!({
        "metadata": metadata,
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
    })
}

fn everything(metadata: Value) -> Value {
    json!({"metadata": metadata, "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}})
}

/// What somebody planted before there was anybody to refuse it.
async fn plant(admin: &Client, name: &str) -> Result<()> {
    make::<RoleBinding>(admin, name, admin_of(marked("keep", "RoleGrant"), "mallory")).await?;
    make::<NetworkPolicy>(admin, name, everything(marked("open-everything", "EgressGrant"))).await?;
    let managed = |name: &str| json!({"name": name, "labels": {"app.kubernetes.io/managed-by": "cloister"}});
    make::<ServiceAccount>(admin, name, json!({"metadata": managed("squatter")})).await?;
    make::<ResourceQuota>(admin, name, json!({"metadata": managed("mine"), "spec": {"hard": {"pods": "900"}}})).await?;
    let limits = json!({"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "900Ti"}}]});
    make::<LimitRange>(admin, name, json!({"metadata": managed("mine"), "spec": limits})).await?;
    make::<Role>(admin, name, json!({"metadata": {"name": "unbound"}, "rules": []})).await?;
    make::<Secret>(
        admin,
        name,
        json!({
            "metadata": {"name": "everlasting", "annotations": {"kubernetes.io/service-account.name": "default"}},
            "type": "kubernetes.io/service-account-token",
        }),
    )
    .await?;
    let mut privileged = pod("privileged", "default");
    let spec = privileged.spec.as_mut().context("a spec")?;
    spec.host_network = Some(true);
    spec.containers[0].security_context = Some(serde_json::from_value(json!({"privileged": true}))?);
    make::<Pod>(admin, name, serde_json::to_value(privileged)?).await?;
    let mut waiting = serde_json::to_value(pod("waiting", "default"))?;
    waiting["spec"]["volumes"] =
        json!([{"name": "v", "secret": {"secretName": "cloister-grant-weights.reader.default"}}]);
    make::<Pod>(admin, name, waiting).await?;
    Ok(())
}

const PLANTED: [&str; 9] = [
    "RoleBinding/keep",
    "NetworkPolicy/open-everything",
    "ServiceAccount/squatter",
    "ResourceQuota/mine",
    "LimitRange/mine",
    "Role/unbound",
    "Pod/privileged",
    "Pod/waiting",
    "Secret/everlasting",
];

/// Marks from before the installation prove nothing, and what runs or was kept from before is looked at.
#[tokio::test]
async fn what_was_planted_before_the_installation_is_found_and_never_adopted() -> Result<()> {
    let bare = Bare::start("planted").await?;
    let admin = &bare.admin;
    bare.without_admission().await?;
    plain(admin, "lab-x").await?;
    plant(admin, "lab-x").await?;
    // Somebody lets alice act as others, by a binding that calls itself ours.
    plain(admin, "elsewhere").await?;
    let role: ClusterRole = serde_json::from_value(json!({
        "metadata": {"name": "act-as"}, "rules": [{"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]}],
    }))?;
    Api::all(admin.clone()).create(&PostParams::default(), &role).await?;
    let mut hidden =
        admin_of(json!({"name": "hidden", "labels": {"app.kubernetes.io/managed-by": "cloister"}}), "alice");
    hidden["roleRef"]["name"] = json!("act-as");
    make::<RoleBinding>(admin, "elsewhere", hidden).await?;
    install::install(admin, &workspace_root()?.join("deploy"), Parts::WithoutWorkloads).await?;
    eventually("the policies to be in force", async || {
        let again = make::<RoleBinding>(admin, "elsewhere", admin_of(marked("again", "RoleGrant"), "mallory")).await;
        let refused = again.expect_err("it was admitted").to_string();
        ensure!(refused.contains("reserved-marks.cloister.dev"), "{refused}");
        Ok(())
    })
    .await?;

    let mut operator = bare.operator().await?;
    let research_namespaces: Api<ResearchNamespace> = Api::all(admin.clone());
    let mut lab = research("lab-x")?;
    lab.spec.members =
        serde_json::from_value(json!([{"role": "Researcher", "subjects": [{"kind": "User", "name": "alice"}]}]))?;
    research_namespaces.create(&PostParams::default(), &lab).await?;
    eventually("the hidden impersonation to be counted", async || {
        let count = operator.metric("cloister_alerts", "Impersonation").await?;
        ensure!((count - 1.0).abs() < f64::EPSILON, "it counts {count}");
        Ok(())
    })
    .await?;
    offer(admin, "lab-x").await?;
    // The message names eight; each is found, by taking away the others.
    let names = &PLANTED[..];
    until_told(admin, "lab-x", "ForeignObjects", &["RoleBinding/keep", "NetworkPolicy/open-everything"]).await?;
    let delete = DeleteParams::default();
    let now = DeleteParams::default().grace_period(0);
    let namespaced = "lab-x";
    Api::<RoleBinding>::namespaced(admin.clone(), namespaced).delete("keep", &delete).await?;
    until_told(admin, "lab-x", "ForeignObjects", &names[1..]).await?;
    Api::<NetworkPolicy>::namespaced(admin.clone(), namespaced).delete("open-everything", &delete).await?;
    Api::<ServiceAccount>::namespaced(admin.clone(), namespaced).delete("squatter", &delete).await?;
    Api::<ResourceQuota>::namespaced(admin.clone(), namespaced).delete("mine", &delete).await?;
    Api::<LimitRange>::namespaced(admin.clone(), namespaced).delete("mine", &delete).await?;
    Api::<Role>::namespaced(admin.clone(), namespaced).delete("unbound", &delete).await?;
    // A restart changes nothing.
    operator.stop().await?;
    operator = bare.operator().await?;
    until_told(admin, "lab-x", "ForeignObjects", &names[6..]).await?;
    Api::<Pod>::namespaced(admin.clone(), namespaced).delete("privileged", &now).await?;
    Api::<Pod>::namespaced(admin.clone(), namespaced).delete("waiting", &now).await?;
    until_told(admin, "lab-x", "ForeignObjects", &names[8..]).await?;
    Api::<Secret>::namespaced(admin.clone(), namespaced).delete("everlasting", &delete).await?;
    until_taken_over(admin, "lab-x").await?;

    // What comes in all the same, whoever let it, is told of if it is somebody's and goes if it is nobody's.
    bare.without_admission().await?;
    plant_late(admin, "lab-x").await?;
    until_told(admin, "lab-x", "ForeignObjects", &["RoleBinding/late (and 1 more, see status.foreignObjects)"]).await?;
    let told = research_namespaces.get("lab-x").await?.status.unwrap_or_default().foreign_objects;
    ensure!(told == ["RoleBinding/late", "Role/late"] || told == ["Role/late", "RoleBinding/late"], "{told:?}");
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), "lab-x");
    eventually("what belongs to nothing to be gone", async || {
        let left: Vec<String> =
            bindings.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect();
        ensure!(left == ["cloister-researchers", "late"], "{left:?} are left");
        Ok(())
    })
    .await?;
    ensure!((operator.metric("cloister_alerts", "ForeignObjects").await? - 1.0).abs() < f64::EPSILON);
    let config: CloisterConfig = serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "CloisterConfig", "metadata": {"name": "cloister"},
        "spec": {"egress": {"removeForeignPolicies": true}},
    }))?;
    Api::all(admin.clone()).create(&PostParams::default(), &config).await?;
    until_taken_over(admin, "lab-x").await?;
    ensure!(bindings.get_opt("late").await?.is_none());

    // An object of ours is there under its name, and carries no mark: it was never seen, and is taken over.
    let limits = json!({"metadata": {"name": "cloister"}, "spec": {"hard": {"pods": "900"}}});
    make::<ResourceQuota>(admin, "lab-x", limits).await?;
    let quota = json!({"spec": {"quota": {"requests.cpu": "4"}}});
    research_namespaces.patch("lab-x", &PatchParams::default(), &Patch::Merge(quota)).await?;
    let quotas: Api<ResourceQuota> = Api::namespaced(admin.clone(), "lab-x");
    eventually("the quota to be the declared one", async || {
        let hard = quotas.get("cloister").await?.spec.and_then(|spec| spec.hard).unwrap_or_default();
        ensure!(hard.contains_key("requests.cpu") && !hard.contains_key("pods"), "{hard:?}");
        Ok(())
    })
    .await?;
    operator.stop().await?;
    bare.give_back().await
}

async fn plant_late(admin: &Client, name: &str) -> Result<()> {
    make::<RoleBinding>(admin, name, admin_of(json!({"name": "late"}), "mallory")).await?;
    make::<Role>(admin, name, json!({"metadata": {"name": "late"}, "rules": []})).await?;
    make::<RoleBinding>(admin, name, admin_of(marked("keep", "RoleGrant"), "mallory")).await?;
    make::<RoleBinding>(admin, name, admin_of(marked("cloister-role-grant.ghost", "RoleGrant"), "mallory")).await?;
    make::<Role>(admin, name, json!({"metadata": marked("ours", "RoleGrant"), "rules": []})).await?;
    Ok(())
}

/// What runs, makes what runs or leads to it was asked by nobody; and a token that was given out is worth nothing afterwards.
#[tokio::test]
async fn nothing_that_runs_or_was_given_out_before_is_taken_over() -> Result<()> {
    let scene = Scene::new().await;
    let admin = &scene.admin;
    let name = unique("before");
    plain(admin, &name).await?;
    let accounts = scene.within::<ServiceAccount>(&name);
    let before = accounts.get("default").await?;
    let asked: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 86400}}))?;
    let given = accounts.create_token_request("default", &PostParams::default(), &asked).await?;
    let token = given.status.context("a token")?.token;
    let is_good = async || -> Result<bool> {
        let review: TokenReview = serde_json::from_value(json!({"spec": {"token": token}}))?;
        let answer = Api::<TokenReview>::all(admin.clone()).create(&PostParams::default(), &review).await?;
        Ok(answer.status.and_then(|status| status.authenticated) == Some(true))
    };
    ensure!(is_good().await?, "the token is not good to begin with");
    plant_what_runs(&scene, &name).await?;

    scene.declare(&name, json!({"tier": "Standard", "serviceAccounts": [{"name": "trainer"}]})).await?;
    offer(admin, &name).await?;
    let running = ["ServiceAccount/trainer", "Pod/spoof", "CronJob/harvest", "Service/front", "EndpointSlice/by-hand"];
    until_told(admin, &name, "ForeignObjects", &running).await?;
    ensure!(is_good().await? && accounts.get("default").await?.uid() == before.uid(), "it is renewed too early");
    let delete = DeleteParams::default();
    scene.within::<Service>(&name).delete("front", &delete).await?;
    scene.within::<CronJob>(&name).delete("harvest", &delete).await?;
    scene.within::<EndpointSlice>(&name).delete("by-hand", &delete).await?;
    scene.within::<Pod>(&name).delete("spoof", &DeleteParams::default().grace_period(0)).await?;
    until_told(admin, &name, "ForeignObjects", &["ServiceAccount/trainer", "Ingress/ing", "Claim/stolen"]).await?;
    ensure!(!ready(admin, &name).await?.1.contains("Claim/own"), "a claim with a volume of its own is in the way");
    scene.within::<Ingress>(&name).delete("ing", &delete).await?;
    scene.within::<PersistentVolumeClaim>(&name).delete("stolen", &delete).await?;
    accounts.delete("trainer", &delete).await?;
    until_taken_over(admin, &name).await?;

    eventually("the account to be another", async || {
        let now = accounts.get("default").await?;
        ensure!(now.uid() != before.uid(), "it is the same");
        ensure!(now.labels().get("app.kubernetes.io/managed-by").map(String::as_str) == Some("cloister"));
        ensure!(!is_good().await?, "the token is good still");
        accounts.get("trainer").await?;
        scene.within::<PersistentVolumeClaim>(&name).get("own").await?;
        Ok(())
    })
    .await
}

async fn plant_what_runs(scene: &Scene, name: &str) -> Result<()> {
    let admin = &scene.admin;
    make::<ServiceAccount>(admin, name, json!({"metadata": {"name": "trainer"}})).await?;
    let mut spoof = serde_json::to_value(pod("spoof", "default"))?;
    spoof["metadata"]["labels"] = json!({"cloister.dev/service-account": "trainer"});
    make::<Pod>(admin, name, spoof.clone()).await?;
    let template = json!({"spec": {"restartPolicy": "Never", "containers": spoof["spec"]["containers"]}});
    let harvest = json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}});
    make::<CronJob>(admin, name, json!({"metadata": {"name": "harvest"}, "spec": harvest})).await?;
    let front =
        json!({"type": "NodePort", "externalIPs": ["203.0.113.10"], "selector": {"app": "x"}, "ports": [{"port": 80}]});
    make::<Service>(admin, name, json!({"metadata": {"name": "front"}, "spec": front})).await?;
    let slice =
        json!({"metadata": {"name": "by-hand"}, "addressType": "IPv4", "endpoints": [{"addresses": ["203.0.113.11"]}]});
    make::<EndpointSlice>(admin, name, slice).await?;
    let to_front = json!({"defaultBackend": {"service": {"name": "front", "port": {"number": 80}}}});
    make::<Ingress>(admin, name, json!({"metadata": {"name": "ing"}, "spec": to_front})).await?;
    let claim = |name: &str, volume: Option<&str>| {
        let resources = json!({"requests": {"storage": "1Gi"}});
        json!({"metadata": {"name": name}, "spec": {
            "accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeName": volume, "resources": resources,
        }})
    };
    make::<PersistentVolumeClaim>(admin, name, claim("stolen", Some("team-b-data"))).await?;
    let own = make::<PersistentVolumeClaim>(admin, name, claim("own", None)).await?;
    // As a provisioner does it.
    let volume = json!({"spec": {"volumeName": format!("pvc-{}", own.uid().context("a uid")?)}});
    let claims = scene.within::<PersistentVolumeClaim>(name);
    claims.patch("own", &PatchParams::default(), &Patch::Merge(volume)).await?;
    Ok(())
}

/// The door is closed before the look: a binding that comes right after the offer is refused, or found.
#[tokio::test]
async fn what_comes_right_after_the_offer_is_refused_or_found() -> Result<()> {
    const TRIES: u64 = 12;
    let scene = Scene::new().await;
    let admin = &scene.admin;
    let one = async |at: u64| -> Result<()> {
        let name = unique("race");
        plain(admin, &name).await?;
        Api::all(admin.clone()).create(&PostParams::default(), &research(&name)?).await?;
        offer(admin, &name).await?;
        // Somewhere between the offer and the label, or after it.
        tokio::time::sleep(Duration::from_millis(at * 7)).await;
        let backdoor = make::<RoleBinding>(admin, &name, admin_of(json!({"name": "backdoor"}), "mallory")).await;
        if backdoor.is_ok() {
            until_told(admin, &name, "ForeignObjects", &["RoleBinding/backdoor"]).await?;
            scene.within::<RoleBinding>(&name).delete("backdoor", &DeleteParams::default()).await?;
        }
        until_taken_over(admin, &name).await?;
        let left = scene.within::<RoleBinding>(&name).list(&ListParams::default()).await?;
        ensure!(left.items.is_empty(), "{:?} stand in {name}", left.items);
        Ok(())
    };
    join_all((0..TRIES).map(one)).await.into_iter().collect()
}

/// A controller that puts its binding back at once does not stop the takeover, and a policy that only denies neither.
#[tokio::test]
async fn the_advice_can_be_followed_against_a_controller_that_puts_its_binding_back() -> Result<()> {
    let scene = Scene::new().await;
    let admin = &scene.admin;
    let name = unique("stubborn");
    plain(admin, &name).await?;
    let deny = json!({"metadata": {"name": "default-deny"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}});
    make::<NetworkPolicy>(admin, &name, deny).await?;
    let binding = || admin_of(json!({"name": "put-back"}), "robot");
    make::<RoleBinding>(admin, &name, binding()).await?;
    scene.declare(&name, json!({"tier": "Standard"})).await?;
    offer(admin, &name).await?;
    until_told(admin, &name, "ForeignObjects", &["RoleBinding/put-back"]).await?;
    let (_, message) = ready(admin, &name).await?;
    ensure!(!message.contains("default-deny"), "{message}");
    let policies = scene.within::<RoleBinding>(&name);
    policies.delete("put-back", &DeleteParams::default()).await?;
    let again: RoleBinding = serde_json::from_value(binding())?;
    denied(policies.create(&PostParams::default(), &again).await, "adopting.cloister.dev")?;
    until_taken_over(admin, &name).await
}

/// Whoever thinks better of it gets the Namespace back as it was.
#[tokio::test]
async fn an_offer_that_is_taken_back_opens_the_namespace_again() -> Result<()> {
    let scene = Scene::new().await;
    let admin = &scene.admin;
    let namespaces = scene.all::<Namespace>();
    for by_deletion in [true, false] {
        let name = unique("withdrawn");
        plain(admin, &name).await?;
        make::<RoleBinding>(admin, &name, admin_of(json!({"name": "theirs"}), "pat")).await?;
        let before = namespaces.get(&name).await?.metadata.labels;
        scene.declare(&name, json!({"tier": "Standard"})).await?;
        offer(admin, &name).await?;
        until_told(admin, &name, "ForeignObjects", &["RoleBinding/theirs"]).await?;
        if by_deletion {
            scene.all::<ResearchNamespace>().delete(&name, &DeleteParams::default()).await?;
        } else {
            let back = json!({"metadata": {"annotations": {"cloister.dev/adopt": null}}});
            namespaces.patch(&name, &PatchParams::default(), &Patch::Merge(back)).await?;
        }
        eventually("the label to be gone", async || {
            let labels = namespaces.get(&name).await?.metadata.labels;
            ensure!(labels == before, "{labels:?}");
            Ok(())
        })
        .await?;
        eventually("it to admit what it did", async || {
            make::<RoleBinding>(admin, &name, admin_of(json!({"name": "new"}), "pat")).await.map(drop)
        })
        .await?;
        ensure!(scene.within::<RoleBinding>(&name).get_opt("theirs").await?.is_some());
    }
    Ok(())
}

/// With the operator's token, something is put there in the name of a grant that nobody has approved, or of none.
#[tokio::test]
async fn nothing_stands_in_the_name_of_a_grant_that_is_not_approved() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("surplus");
    scene.enforced(&name, json!({"tier": "Standard"})).await?;
    let grant: RoleGrant = serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "RoleGrant", "metadata": {"name": "debug"},
        "spec": {"role": "nothing-of-the-kind", "subjects": [{"kind": "User", "name": "mallory"}]},
    }))?;
    let grant = scene.within::<RoleGrant>(&name).create(&PostParams::default(), &grant).await?;
    let thief = scene.world.operator().await?;
    let owned = |of: &str, uid: &str| {
        let mut metadata = marked(&format!("cloister-role-grant.{of}"), "RoleGrant");
        metadata["labels"]["cloister.dev/grant"] = json!(of);
        metadata["ownerReferences"] =
            json!([{"apiVersion": "cloister.dev/v1alpha1", "kind": "RoleGrant", "name": of, "uid": uid}]);
        let mut binding = admin_of(metadata, "mallory");
        binding["roleRef"]["name"] = json!("cloister:debugger");
        binding
    };
    let uid = grant.metadata.uid.context("a uid")?;
    for (of, uid) in [("debug", uid.as_str()), ("debug", "7"), ("ghost", uid.as_str())] {
        make::<RoleBinding>(&thief, &name, owned(of, uid)).await?;
        let bindings = scene.within::<RoleBinding>(&name);
        eventually("the binding to be gone", async || {
            let left = bindings.get_opt(&format!("cloister-role-grant.{of}")).await?;
            ensure!(left.is_none(), "{left:?}");
            Ok(())
        })
        .await?;
    }
    // Nor can it open the Internet by halves.
    let policies: Api<NetworkPolicy> = Api::namespaced(thief, &name);
    let halves = json!([{"ipBlock": {"cidr": "0.0.0.0/1"}}, {"ipBlock": {"cidr": "128.0.0.0/1"}}]);
    let eighths: Vec<Value> = (1..40).map(|at| json!({"ipBlock": {"cidr": format!("{at}.0.0.0/8")}})).collect();
    let all_pods = json!([{"namespaceSelector": {}, "podSelector": {}}]);
    for to in [halves, json!(eighths), all_pods] {
        let wide: NetworkPolicy = serde_json::from_value(json!({
            "metadata": {"name": "cloister-allow.x.y"},
            "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": to}]},
        }))?;
        denied(policies.create(&PostParams::default(), &wide).await, "operator-networkpolicies.cloister.dev")?;
    }
    Ok(())
}
