//! Objects that stand already under the names which the operator is about to write, made by somebody with the power to,
//! while no operator and no admission policy looked. They are taken over: nothing of what they opened stays.

use crate::stage::{CONVERGED, Reach, Stage};
use anyhow::{Context, Result, ensure};
use cloister_api::{GrantKind, GrantMount, ResearchNamespace};
use cloister_tests::eventually;
use futures::future::try_join;
use k8s_openapi::api::{
    core::v1::{LimitRange, ResourceQuota, Secret, ServiceAccount},
    networking::v1::NetworkPolicy,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    fmt::Debug,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use xtask::{
    cluster::workspace_root,
    install::{self, Parts},
};

const LAB: &str = "lab";
const RBAC: &str = "rbac.authorization.k8s.io";

fn within<K>(admin: &Client) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(admin.clone(), LAB)
}

async fn plant<K>(admin: &Client, name: &str, object: Value) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let mut object = object;
    object["metadata"]["name"] = json!(name);
    let made = within::<K>(admin).create(&PostParams::default(), &serde_json::from_value(object)?).await;
    made.with_context(|| format!("cannot plant {} {name}", K::kind(&())))?;
    Ok(())
}

fn everything() -> Value {
    json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": [{}], "ingress": [{}]}})
}

fn for_mallory() -> Value {
    json!({
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "mallory"}],
    })
}

/// What stands under the name of a copy: one that holds more, one that cannot be changed, and those of other types.
fn squatting_secrets(account: &str) -> [Value; 4] {
    let docker = json!({".dockerconfigjson": "{\"auths\":{}}"});
    [
        json!({"stringData": {"planted": "by mallory"}}),
        json!({"stringData": {"planted": "by mallory"}, "immutable": true}),
        json!({"stringData": docker, "type": "kubernetes.io/dockerconfigjson"}),
        json!({
            "metadata": {"annotations": {"kubernetes.io/service-account.name": account}},
            "type": "kubernetes.io/service-account-token",
        }),
    ]
}

/// What the ResearchNamespace declares from then on.
fn declared() -> Value {
    json!({
        "members": [{"role": "Researcher", "subjects": [{"kind": "User", "name": "alice"}]}],
        "quota": {"requests.cpu": "4"},
        "limitRange": [{"type": "Container", "max": {"cpu": "2"}}],
    })
}

/// Declares more and asks for more while no operator runs, and plants something under each name of it.
async fn plant_all(stage: &mut Stage) -> Result<Vec<String>> {
    stage.operator.take().context("no operator runs")?.stop().await?;
    stage.bare.without_admission().await?;
    let research: Api<ResearchNamespace> = Api::all(stage.bare.admin.clone());
    let mut spec = declared();
    let now = serde_json::to_value(research.get(LAB).await?.spec)?;
    let mut accounts = now["serviceAccounts"].as_array().cloned().unwrap_or_default();
    accounts.push(json!({"name": "late"}));
    spec["serviceAccounts"] = json!(accounts);
    research.patch(LAB, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await?;

    let admin = stage.bare.admin.clone();
    plant::<RoleBinding>(&admin, "cloister-researchers", for_mallory()).await?;
    let all = json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    plant::<Role>(&admin, "cloister-researchers", all).await?;
    plant::<ResourceQuota>(
        &admin,
        "cloister",
        json!({"spec": {"hard": {"pods": "900"}, "scopes": ["NotTerminating"]}}),
    )
    .await?;
    let limits = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "900"}}]}});
    plant::<LimitRange>(&admin, "cloister", limits).await?;
    let elsewhere = json!({"metadata": {"annotations": {"example.com/role": "admin-of-the-cloud"}}});
    plant::<ServiceAccount>(&admin, "late", elsewhere.clone()).await?;
    // What denies stands already: it is opened, and its marks are taken off.
    let policies = within::<NetworkPolicy>(&admin);
    let mut deny: NetworkPolicy = serde_json::from_value(everything())?;
    deny.metadata.name = Some("cloister-deny-all".to_owned());
    deny.metadata.resource_version = policies.get("cloister-deny-all").await?.resource_version();
    policies.replace("cloister-deny-all", &PostParams::default(), &deny).await?;
    let mut unmarked = elsewhere;
    unmarked["metadata"]["labels"] = json!(null);
    unmarked["automountServiceAccountToken"] = json!(true);
    within::<ServiceAccount>(&admin).patch("default", &PatchParams::default(), &Patch::Merge(unmarked)).await?;
    // The copy of one that ends soon cannot be emptied any more.
    let secrets = within::<Secret>(&admin);
    let stand: Vec<String> = secrets.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect();
    let copies = stage.asked().iter().filter_map(|asked| Some((asked.end, asked.secret()?)));
    let soon = copies.filter(|(_, secret)| stand.iter().any(|name| name == secret)).min();
    let (_, copy) = soon.context("nothing ends soon")?;
    secrets.delete(copy, &DeleteParams::default()).await?;
    plant::<Secret>(&admin, copy, json!({"stringData": {"token": "kept"}, "immutable": true})).await?;

    // What one that lasts has opened is opened further, and its mount is put elsewhere.
    let lasts = stage.asked().iter().filter(|asked| asked.secret().is_some()).max_by_key(|asked| asked.end);
    let lasts = lasts.context("nothing lasts")?;
    let opened = format!("cloister-grant.{}", lasts.name);
    let unmarked = json!({"metadata": {"labels": null, "ownerReferences": null}});
    let mut policy = everything();
    policy["metadata"] = unmarked["metadata"].clone();
    policies.patch(&opened, &PatchParams::default(), &Patch::Merge(policy)).await?;
    let mut binding = json!({"subjects": for_mallory()["subjects"]});
    binding["metadata"] = unmarked["metadata"].clone();
    within::<RoleBinding>(&admin).patch(&opened, &PatchParams::default(), &Patch::Merge(binding)).await?;
    let mount = lasts.secret().and_then(|secret| secret.strip_prefix("cloister-grant-")).context("no mount")?;
    let elsewhere = json!({"spec": {"mountPath": "/planted"}});
    within::<GrantMount>(&admin).patch(mount, &PatchParams::default(), &Patch::Merge(elsewhere)).await?;
    // What has lost its marks is nobody's: where the grant is looked at before its namespace is closed again, it is removed, and
    // made anew.
    for kind in ["NetworkPolicy", "RoleBinding"] {
        stage.expect_another((kind, LAB.to_owned(), opened.clone()));
    }

    let (egress, _) = stage.ask_ahead(GrantKind::EgressGrant).await?;
    let (role, _) = stage.ask_ahead(GrantKind::RoleGrant).await?;
    plant::<NetworkPolicy>(&admin, &format!("cloister-egress-grant.{egress}"), everything()).await?;
    plant::<RoleBinding>(&admin, &format!("cloister-role-grant.{role}"), for_mallory()).await?;
    let mut copies = Vec::new();
    for which in 0..squatting_secrets("").len() {
        let (name, account) = stage.ask_ahead(GrantKind::StorageAccessGrant).await?;
        let mount = format!("data.reader.{account}");
        plant::<NetworkPolicy>(&admin, &format!("cloister-grant.{name}"), everything()).await?;
        plant::<RoleBinding>(&admin, &format!("cloister-grant.{name}"), for_mallory()).await?;
        let secret = format!("cloister-grant-{mount}");
        plant::<Secret>(&admin, &secret, squatting_secrets(&account)[which].clone()).await?;
        // One is mounted already, elsewhere.
        if which == 0 {
            let spec = json!({
                "serviceAccountName": account, "secretName": secret, "volumeName": "cloister-planted", "mountPath": "/planted",
            });
            let version = json!({"annotations": {"cloister.dev/credential-version": "planted"}});
            plant::<GrantMount>(&admin, &mount, json!({"metadata": version, "spec": spec})).await?;
        }
        copies.push(secret);
    }
    // What a binding refers to cannot be changed.
    stage.expect_another(("RoleBinding", LAB.to_owned(), "cloister-researchers".to_owned()));
    let deploy = workspace_root()?.join("deploy");
    install::install(&stage.bare.admin, &deploy, Parts::WithoutWorkloads).await?;
    Ok(copies)
}

/// Whether nothing of what was planted is left, and what was to stand there does.
async fn nothing_planted_is_left(admin: &Client, copies: &[String]) -> Result<()> {
    let all = ListParams::default();
    for binding in within::<RoleBinding>(admin).list(&all).await? {
        let subjects = json!(binding.subjects).to_string();
        ensure!(!subjects.contains("mallory") && binding.role_ref.name != "admin", "{} binds", binding.name_any());
    }
    let roles = within::<Role>(admin).list(&all).await?;
    ensure!(roles.items.is_empty(), "the Role stands");
    for policy in within::<NetworkPolicy>(admin).list(&all).await? {
        let spec = json!(policy.spec);
        let opens = [&spec["egress"], &spec["ingress"]].iter().any(|rules| **rules == json!([{}]));
        ensure!(!opens, "{} opens everything", policy.name_any());
    }
    let quota = json!(within::<ResourceQuota>(admin).get("cloister").await?.spec);
    ensure!(quota == json!({"hard": {"requests.cpu": "4"}}), "the quota is {quota}");
    let limits = json!(within::<LimitRange>(admin).get("cloister").await?.spec);
    ensure!(limits["limits"][0]["max"] == json!({"cpu": "2"}), "the limits are {limits}");
    for name in ["late", "default"] {
        let account = within::<ServiceAccount>(admin).get(name).await?;
        let is_ours = account.labels().get("app.kubernetes.io/managed-by").map(String::as_str) == Some("cloister");
        ensure!(is_ours && account.annotations().is_empty(), "{name} is {:?}", account.metadata);
        let automount = account.automount_service_account_token;
        ensure!(name != "default" || automount == Some(false), "the token of {name} is mounted");
    }
    let credentials: Api<Secret> = Api::namespaced(admin.clone(), "cloister-credentials");
    let source = credentials.get("data").await?.data;
    for name in copies {
        let copy = within::<Secret>(admin).get(name).await?;
        let is_plain = copy.type_.as_deref() == Some("Opaque") && copy.immutable != Some(true);
        ensure!(copy.data == source && is_plain, "{name} holds {:?} as {:?}", copy.data, copy.type_);
    }
    for mount in within::<GrantMount>(admin).list(&all).await? {
        ensure!(
            mount.spec.mount_path == "/var/run/cloister/data",
            "{} is at {}",
            mount.name_any(),
            mount.spec.mount_path
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_stands_under_the_operators_names_is_taken_over() -> Result<()> {
    let mut stage = Stage::start("chaos-squatters", &[]).await?;
    let admin = stage.bare.admin.clone();
    let (planted, copies) = oneshot::channel();
    let plant = async |stage: &mut Stage| {
        // Whoever looks is there.
        let _ = planted.send((plant_all(stage).await?, Instant::now()));
        Ok(())
    };
    let what = "others' objects under the operator's names";
    let play =
        stage.play(what, Reach::CutOff, plant, Duration::from_secs(3), async |stage| stage.start_operator().await);
    let look = async {
        let (copies, since) = copies.await?;
        eventually("what was planted to be gone", async || nothing_planted_is_left(&admin, &copies).await).await?;
        Ok(since.elapsed())
    };
    let ((), took) = try_join(play, look).await?;
    println!("{what}: all are the operator's {:.1} s after they were made", took.as_secs_f64());
    ensure!(took <= CONVERGED, "that is too long");
    Ok(())
}
