//! People whom an identity provider vouches for (OpenID Connect): the API server verifies their tokens by its own
//! structured authentication, and puts a prefix before all that the provider says. What Cloister does is the same as with
//! client certificates; the names in policies, members and records are those with the prefix.

use anyhow::{Context, Result, ensure};
use cloister_api::{
    AccessPolicy, AccessReview, CloisterConfig, GrantPhase, Identity, ResearchNamespace, StorageAccessGrant,
    StorageResource, labels,
};
use cloister_tests::scene::condition;
use cloister_tests::{
    bare::Bare,
    eventually,
    issuer::{AUDIENCE, Issuer},
};
use k8s_openapi::api::{
    authentication::v1::{SelfSubjectReview, UserInfo},
    core::v1::Secret,
    rbac::v1::{ClusterRoleBinding, RoleBinding},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::fmt::Debug;
use xtask::cluster::{self, Options};

/// Where the API server puts the person behind an account.
const PERSON: &str = "example.com/person";

/// The namespace, its storage and its policy.
const NAME: &str = "interp";

/// What the issuer says of an account.
fn claims(name: &str, person: &str, groups: &[&str]) -> Value {
    json!({"sub": format!("sub-{name}"), "preferred_username": name, "oid": person, "groups": groups})
}

/// What the API server makes of it.
fn identity(name: &str, person: &str, groups: &[&str]) -> Identity {
    let prefixed = groups.iter().map(|group| format!("oidc:{group}"));
    Identity {
        username: format!("oidc:{name}"),
        uid: format!("sub-{name}"),
        groups: prefixed.chain(["system:authenticated".to_owned()]).collect(),
        person_key: person.to_owned(),
        ..Identity::default()
    }
}

/// A cluster whose API server believes an issuer.
struct Site {
    issuer: Issuer,
    bare: Bare,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn start() -> Result<Self> {
        let issuer = Issuer::start().await?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("authentication.yaml");
        let config = json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
            "jwt": [{
                "issuer": {
                    "url": issuer.url(), "certificateAuthority": issuer.certificate_authority(), "audiences": [AUDIENCE],
                },
                // A second account that says no person could not be told from somebody else's. A mapping alone does not refuse
                // it: what maps to null or to nothing is left out.
                "claimValidationRules": [{
                    "expression": "has(claims.oid) && type(claims.oid) == string && claims.oid != ''",
                    "message": "the claim oid must say which person this is",
                }],
                "claimMappings": {
                    "username": {"claim": "preferred_username", "prefix": "oidc:"},
                    "groups": {"claim": "groups", "prefix": "oidc:"},
                    "uid": {"claim": "sub"},
                    "extra": [{"key": PERSON, "valueExpression": "claims.oid"}],
                },
            }],
        });
        std::fs::write(&file, config.to_string())?;
        let options = Options { name: "oidc".to_owned(), authentication_config: Some(file), ..Options::default() };
        Ok(Site { issuer, bare: Bare::start_with(options).await?, _folder: folder })
    }

    async fn with_token(&self, token: String) -> Result<Client> {
        Ok(cluster::client(self.bare.cluster.token_kubeconfig("token", token)?).await?)
    }

    async fn with_claims(&self, claims: Value) -> Result<Client> {
        self.with_token(self.issuer.token(claims)?).await
    }

    async fn person(&self, name: &str, person: &str, groups: &[&str]) -> Result<Client> {
        self.with_claims(claims(name, person, groups)).await
    }

    async fn bind(&self, role: &str, group: &str) -> Result<()> {
        let group =
            json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": format!("oidc:{group}")}]);
        let binding = json!({
            "metadata": {"generateName": "people-"}, "subjects": group,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        });
        make(&Api::<ClusterRoleBinding>::all(self.bare.admin.clone()), binding).await?;
        Ok(())
    }

    async fn until_phase(&self, grant: &str, phase: GrantPhase) -> Result<StorageAccessGrant> {
        let grants: Api<StorageAccessGrant> = Api::namespaced(self.bare.admin.clone(), NAME);
        eventually(&format!("{grant} to be {}", phase.as_str()), async || {
            let object = grants.get(grant).await?;
            let status = object.status.as_ref().context("nothing is said of it")?;
            let message = condition(&object, "Ready").map(|ready| ready.message).unwrap_or_default();
            ensure!(status.phase == phase, "it is {}: {}: {message}", status.phase.as_str(), status.reason);
            ensure!(!status.digest.is_empty() || phase != GrantPhase::Pending, "there is no digest yet");
            Ok(object)
        })
        .await
    }

    /// Approves a grant, and waits for what is said of that.
    async fn approve(&self, who: &Client, grant: &StorageAccessGrant) -> Result<(AccessReview, String, String)> {
        let digest = &grant.status.as_ref().context("nothing is said of it")?.digest;
        let request = json!({"kind": "StorageAccessGrant", "name": grant.name_any(), "uid": grant.uid()});
        let review = json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "AccessReview",
            "metadata": {"generateName": format!("{}-", grant.name_any())},
            "spec": {"requestRef": request, "digest": digest, "decision": "Approve"},
        });
        let api: Api<AccessReview> = Api::namespaced(who.clone(), NAME);
        let made = make(&api, review).await?;
        eventually("the review to be judged", async || {
            let review = api.get(&made.name_any()).await?;
            let counted = condition(&review, "Counted").context("nothing is said of it")?;
            Ok((review, counted.status, counted.reason))
        })
        .await
    }
}

async fn make<K>(api: &Api<K>, object: Value) -> Result<K>
where
    K: Clone + Debug + Serialize + DeserializeOwned,
{
    Ok(api.create(&PostParams::default(), &serde_json::from_value(object)?).await?)
}

/// Makes an object of ours that belongs to the whole cluster.
async fn declare<K>(client: &Client, name: &str, spec: Value) -> Result<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let object = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "spec": spec,
    });
    make(&Api::all(client.clone()), object).await
}

fn policy(requesters: &str, security: &str) -> Value {
    json!({
        "requesters": [{"kind": "Group", "name": requesters}], "maxDuration": "4h",
        "approvalRules": [
            {"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": security}]},
            {"name": "owners", "required": 1, "approvers": [{"kind": "Group", "name": "oidc:weights-owners"}]},
        ],
    })
}

fn grant(name: &str, role: &str) -> Value {
    json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageAccessGrant", "metadata": {"name": name},
        "spec": {
            "storage": NAME, "role": role, "requestedDuration": "1h",
            "subjects": [{"kind": "ServiceAccount", "name": "trainer"}, {"kind": "User", "name": "oidc:alice"}],
            "mount": {"serviceAccountName": "trainer", "mountPath": format!("/var/run/cloister/{role}")},
        },
    })
}

async fn whoami(client: &Client) -> Result<UserInfo, kube::Error> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = api.create(&PostParams::default(), &Default::default()).await?;
    Ok(review.status.and_then(|status| status.user_info).unwrap_or_default())
}

#[track_caller]
fn assert_refused<T: Debug>(result: Result<T, kube::Error>, code: u16) {
    match result {
        Err(kube::Error::Api(status)) if status.code == code => {}
        other => panic!("it should have been refused with {code}: {other:?}"),
    }
}

#[tokio::test]
async fn people_of_an_identity_provider_ask_and_decide() -> Result<()> {
    let site = Site::start().await?;
    let alice = site.person("alice", "p-alice", &["researchers", "interp"]).await?;
    who_is_believed(&site, &alice).await?;

    // The people: everything is declared by them, by the groups that their provider puts them in.
    let _operator = site.bare.operator().await?;
    for (role, group) in [
        ("cloister:catalogue-admin", "platform"),
        ("cloister:policy-admin", "security"),
        ("cloister:approver", "security"),
        ("cloister:approver", "weights-owners"),
    ] {
        site.bind(role, group).await?;
    }
    let pat = site.person("pat", "p-pat", &["platform"]).await?;
    let sam = site.person("sam", "p-sam", &["security"]).await?;
    declare_all(&site, &pat, &sam).await?;

    // Before, she could do nothing here; now she is a member, by her group.
    let grants: Api<StorageAccessGrant> = Api::namespaced(alice.clone(), NAME);
    eventually("alice to be a member", async || Ok(grants.list(&ListParams::default()).await.map(|_| ())?)).await?;
    let who = identity("alice", "p-alice", &["researchers", "interp"]);
    eventually("the person key to be in force", async || {
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let made = grants.create(&params, &serde_json::from_value(grant("run", "reader"))?).await?;
        ensure!(made.spec.requested_by.as_ref() == Some(&who), "{:?}", made.spec.requested_by);
        Ok(())
    })
    .await?;
    let asked = make(&grants, grant("run", "reader")).await?;
    assert_eq!(asked.spec.requested_by, Some(who), "as the API server saw her");
    let pending = site.until_phase("run", GrantPhase::Pending).await?;

    // Another account of hers, in a group that decides: another name, another uid, the same person.
    let admin = site.person("alice-admin", "p-alice", &["security"]).await?;
    let (review, counted, reason) = site.approve(&admin, &pending).await?;
    assert_eq!((counted.as_str(), reason.as_str()), ("False", "Requester"));
    assert_eq!(review.spec.reviewer, Some(identity("alice-admin", "p-alice", &["security"])));

    // Groups without the prefix, which the API server takes from a certificate, are not the provider's.
    let certified = site.bare.cluster.client_for("oscar", &["security", "weights-owners", "system:masters"]).await?;
    let (review, counted, reason) = site.approve(&certified, &pending).await?;
    assert_eq!((counted.as_str(), reason.as_str()), ("False", "NotAnApprover"));
    let reviewer = review.spec.reviewer.context("nobody is said to have decided")?;
    assert_eq!((reviewer.username.as_str(), reviewer.uid.as_str(), reviewer.person_key.as_str()), ("oscar", "", ""));

    // Two accounts of one person are one person, whichever groups they are in.
    let (first, counted, _) = site.approve(&sam, &pending).await?;
    assert_eq!(counted, "True");
    let second = site.person("sam-admin", "p-sam", &["weights-owners"]).await?;
    site.approve(&second, &pending).await?;
    let pending = site.until_phase("run", GrantPhase::Pending).await?;
    let ready = condition(&pending, "Ready").context("nothing is said of it")?;
    assert!(ready.message.contains("1 more of "), "{}", ready.message);

    let olga = site.person("olga", "p-olga", &["weights-owners"]).await?;
    let (last, ..) = site.approve(&olga, &pending).await?;
    let active = site.until_phase("run", GrantPhase::Active).await?;
    let status = active.status.as_ref().context("nothing is said of it")?;
    let recorded = |review: &AccessReview| {
        let found = status.reviews.iter().find(|recorded| Some(&recorded.uid) == review.metadata.uid.as_ref());
        found.map(|recorded| recorded.reviewer.clone())
    };
    assert_eq!(recorded(&first), Some(identity("sam", "p-sam", &["security"])));
    assert_eq!(recorded(&last), Some(identity("olga", "p-olga", &["weights-owners"])));
    let by_rule = |rule: &str| {
        let found = status.approvals.iter().find(|approvals| approvals.rule == rule);
        found.map(|approvals| approvals.approved_by.clone()).unwrap_or_default()
    };
    assert_eq!(by_rule("owners"), ["oidc:olga"]);
    // By either of his accounts.
    assert_eq!(by_rule("security"), ["oidc:sam"], "{status:?}");
    let never = status.reviews.iter().map(|review| review.reviewer.username.as_str());
    assert!(never.clone().all(|name| name != "oidc:alice-admin" && name != "oscar"), "{:?}", never.collect::<Vec<_>>());
    let bindings: Api<RoleBinding> = Api::namespaced(site.bare.admin.clone(), NAME);
    let subjects = bindings.get("cloister-grant.run").await?.subjects.unwrap_or_default();
    assert!(subjects.iter().any(|subject| subject.kind == "User" && subject.name == "oidc:alice"), "{subjects:?}");

    // In a policy, a group without the prefix is nobody's.
    make(&grants, grant("unprefixed-approvers", "unprefixed-approvers")).await?;
    let pending = site.until_phase("unprefixed-approvers", GrantPhase::Pending).await?;
    let (_, counted, reason) = site.approve(&sam, &pending).await?;
    assert_eq!((counted.as_str(), reason.as_str()), ("False", "NotAnApprover"));
    make(&grants, grant("unprefixed-requesters", "unprefixed-requesters")).await?;
    let denied = site.until_phase("unprefixed-requesters", GrantPhase::Denied).await?;
    assert_eq!(denied.status.map(|status| status.reason).as_deref(), Some("RequesterNotAllowed"));
    Ok(())
}

/// What the API server takes from tokens, and which it refuses.
async fn who_is_believed(site: &Site, alice: &Client) -> Result<()> {
    let user = eventually("the API server to know the issuer", async || Ok(whoami(alice).await?)).await?;
    let expected = identity("alice", "", &["researchers", "interp"]);
    assert_eq!(user.username, Some(expected.username));
    assert_eq!(user.uid, Some(expected.uid));
    assert_eq!(user.groups, Some(expected.groups));
    let person = user.extra.and_then(|mut extra| extra.remove(PERSON));
    assert_eq!(person, Some(vec!["p-alice".to_owned()]));

    let altered = |claim: &str, value: Value| {
        let mut claims = claims("alice", "p-alice", &["researchers"]);
        claims[claim] = value;
        claims
    };
    let past = jiff::Timestamp::now().as_second() - 60;
    for refused in [
        altered("exp", json!(past)),
        altered("aud", json!("another")),
        altered("iss", json!("https://127.0.0.1:1")),
        altered("oid", Value::Null),
        altered("oid", json!("")),
        json!({"sub": "s", "preferred_username": "alice"}),
    ] {
        assert_refused(whoami(&site.with_claims(refused).await?).await, 401);
    }
    // Signed by somebody else in its name.
    let other = Issuer::start().await?;
    let forged = other.token(altered("iss", json!(site.issuer.url())))?;
    assert_refused(whoami(&site.with_token(forged).await?).await, 401);

    // The prefix keeps the provider from making anybody one of the system's own.
    let claims = altered("groups", json!(["system:masters"]));
    let secrets: Api<Secret> = Api::namespaced(site.with_claims(claims).await?, "kube-system");
    assert_refused(secrets.list(&ListParams::default()).await, 403);

    // Who comes with a certificate, or with a token of a ServiceAccount, is who they were.
    let certified = whoami(&site.bare.cluster.client_for("alice", &["researchers"]).await?).await?;
    assert_eq!(certified.username.as_deref(), Some("alice"));
    let account = site.bare.cluster.service_account_kubeconfig("default", "default").await?;
    let account = whoami(&cluster::client(account).await?).await?;
    assert_eq!(account.username.as_deref(), Some("system:serviceaccount:default:default"));
    Ok(())
}

/// The settings and the policies, as security writes them; the storage and the namespace, as the platform engineer does.
async fn declare_all(site: &Site, pat: &Client, sam: &Client) -> Result<()> {
    let annotations = json!({labels::STORAGE_RESOURCES: NAME});
    let credential = json!({"metadata": {"name": NAME, "annotations": annotations}, "stringData": {"token": "secret"}});
    let secrets: Api<Secret> = Api::namespaced(site.bare.admin.clone(), "cloister-credentials");
    make(&secrets, credential).await?;
    // RBAC of a binding that was just made may take a moment.
    let first = json!({"personKey": PERSON});
    eventually("sam to write the settings", async || declare::<CloisterConfig>(sam, "cloister", first.clone()).await)
        .await?;
    let policies = [
        ("reader", policy("oidc:researchers", "oidc:security")),
        ("unprefixed-approvers", policy("oidc:researchers", "security")),
        ("unprefixed-requesters", policy("researchers", "oidc:security")),
    ];
    let role = |name: &str| {
        json!({
            "name": name, "accessPolicy": name, "clusterRole": "cloister:storage-reader",
            "credential": {"secretRef": {"namespace": "cloister-credentials", "name": NAME}},
        })
    };
    let roles: Vec<Value> = policies.iter().map(|(name, _)| role(name)).collect();
    for (name, spec) in policies {
        declare::<AccessPolicy>(sam, name, spec).await?;
    }
    let endpoint = json!({"networks": ["198.51.100.0/28"], "ports": [{"port": 443}]});
    let storage = json!({"sensitivity": "Critical", "endpoint": endpoint, "roles": roles});
    declare::<StorageResource>(pat, NAME, storage).await?;
    let members = json!([
        {"role": "Owner", "subjects": [{"kind": "Group", "name": "oidc:interp-leads"}]},
        {"role": "Researcher", "subjects": [{"kind": "Group", "name": "oidc:interp"}]},
    ]);
    let namespace = json!({"tier": "Standard", "members": members, "serviceAccounts": [{"name": "trainer"}]});
    declare::<ResearchNamespace>(pat, NAME, namespace).await?;
    let namespaces: Api<ResearchNamespace> = Api::all(pat.clone());
    eventually("the namespace to be enforced", async || {
        let object = namespaces.get(NAME).await?;
        let enforced = condition(&object, "Enforced").context("nothing is said of it")?;
        ensure!(enforced.status == "True", "{}: {}", enforced.reason, enforced.message);
        Ok(())
    })
    .await
}
