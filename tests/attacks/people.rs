//! The people, what they can try, and what they are told.

use crate::stage::Stage;
use anyhow::{Context, Result, bail, ensure};
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

/// The key of `userInfo.extra` that ties a person's accounts together.
pub const PERSON_KEY: &str = "example.com/person";

/// The groups of the cluster, and the ClusterRoles that they have.
pub const GROUPS: &[(&str, &[&str])] = &[
    ("researchers", &["cloister:reader"]),
    ("security", &["cloister:approver", "cloister:auditor"]),
    ("weights-owners", &["cloister:approver"]),
    ("bystanders", &["cloister:approver"]),
    ("policy-writers", &["cloister:policy-admin"]),
    ("platform", &["cloister:catalogue-admin"]),
];

/// Who is in which. In the namespace of a story olga is the owner, and alice, bob and ivy are researchers.
const PEOPLE: &[(&str, &[&str])] = &[
    ("alice", &["researchers"]),
    ("bob", &["researchers"]),
    ("ivy", &["researchers", "security"]),
    ("olga", &["researchers", "weights-owners"]),
    ("sam", &["security"]),
    ("sue", &["security"]),
    ("wendy", &["weights-owners"]),
    ("walter", &["weights-owners"]),
    ("both", &["security", "weights-owners"]),
    ("mallory", &["bystanders"]),
    ("pia", &["policy-writers"]),
    ("petra", &["platform"]),
    ("root", &["system:masters"]),
];

/// Somebody with a client, and the namespace in which they act.
pub struct Person<'a> {
    stage: &'a Stage,
    client: Client,
    /// What the administrator would see.
    eyes: Client,
    pub name: String,
    namespace: String,
}

impl<'a> Person<'a> {
    /// One of the people.
    pub async fn named(stage: &'a Stage, name: &str, namespace: &str) -> Result<Self> {
        let (_, groups) = PEOPLE.iter().find(|(known, _)| *known == name).context("one of the people")?;
        Self::in_groups(stage, name, groups, namespace).await
    }

    /// Somebody else, who is a person of their own.
    pub async fn in_groups(stage: &'a Stage, name: &str, groups: &[&str], namespace: &str) -> Result<Self> {
        Self::account(stage, name, groups, "", "", namespace).await
    }

    /// Somebody by a certificate, which has their groups to the letter, and no key of a person.
    pub async fn certified(stage: &'a Stage, name: &str, groups: &[&str], namespace: &str) -> Result<Self> {
        Self::of(stage, stage.cluster.kubeconfig_for(name, groups).await?, &[], name, namespace).await
    }

    /// A ServiceAccount, by its token.
    pub async fn service_account(stage: &'a Stage, home: &str, account: &str, namespace: &str) -> Result<Self> {
        let kubeconfig = stage.cluster.service_account_kubeconfig(home, account).await?;
        Self::of(stage, kubeconfig, &[], &format!("system:serviceaccount:{home}:{account}"), namespace).await
    }

    /// An account with the uid and the key of a person, as an identity provider would give them: their name, where none is
    /// said. Certificates carry neither, so the administrator stands in for the provider.
    pub async fn account(
        stage: &'a Stage,
        name: &str,
        groups: &[&str],
        uid: &str,
        person: &str,
        namespace: &str,
    ) -> Result<Self> {
        let mut headers = vec![("impersonate-user".to_owned(), name)];
        headers.extend(groups.iter().map(|group| ("impersonate-group".to_owned(), *group)));
        if !uid.is_empty() {
            headers.push(("impersonate-uid".to_owned(), uid));
        }
        let person = if person.is_empty() { name } else { person };
        headers.push((format!("impersonate-extra-{}", PERSON_KEY.replace('/', "%2f")), person));
        Self::of(stage, stage.cluster.admin_kubeconfig(), &headers, name, namespace).await
    }

    /// The same person who says that they are somebody else.
    pub async fn posing_as(stage: &'a Stage, who: &str, pose: &[(&str, &str)], namespace: &str) -> Result<Self> {
        let (_, groups) = PEOPLE.iter().find(|(known, _)| *known == who).context("one of the people")?;
        let headers: Vec<(String, &str)> = pose.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
        Self::of(stage, stage.cluster.kubeconfig_for(who, groups).await?, &headers, who, namespace).await
    }

    /// A ServiceAccount that says that it is somebody else.
    pub async fn posing_as_account(
        stage: &'a Stage,
        (home, account): (&str, &str),
        pose: &str,
        namespace: &str,
    ) -> Result<Self> {
        let kubeconfig = stage.cluster.service_account_kubeconfig(home, account).await?;
        let headers = [("impersonate-user".to_owned(), pose)];
        Self::of(stage, kubeconfig, &headers, &format!("system:serviceaccount:{home}:{account}"), namespace).await
    }

    async fn of(
        stage: &'a Stage,
        kubeconfig: Kubeconfig,
        headers: &[(String, &str)],
        name: &str,
        namespace: &str,
    ) -> Result<Self> {
        xtask::cluster::install_crypto();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        for (key, value) in headers {
            config.headers.push((key.parse()?, value.parse()?));
        }
        let eyes = stage.cluster.admin_client().await?;
        Ok(Person { stage, client: Client::try_from(config)?, eyes, name: name.into(), namespace: namespace.into() })
    }

    /// The same in another namespace.
    pub fn elsewhere(&self, namespace: &str) -> Person<'a> {
        let (client, eyes) = (self.client.clone(), self.eyes.clone());
        Person { stage: self.stage, client, eyes, name: self.name.clone(), namespace: namespace.to_owned() }
    }

    pub async fn get(&self, what: &str, name: &str) -> Answer<'a> {
        self.send("GET", self.path(what, name), "", Value::Null).await
    }

    pub async fn list(&self, what: &str) -> Answer<'a> {
        self.send("GET", self.path(what, ""), "", Value::Null).await
    }

    /// Creates an object: all but its kind and its name are given.
    pub async fn create(&self, what: &str, name: &str, body: Value) -> Answer<'a> {
        self.send("POST", self.path(what, ""), "application/json", object(what, name, body)).await
    }

    /// The same with a name that the API server makes up.
    pub async fn generate(&self, what: &str, prefix: &str, body: Value) -> Answer<'a> {
        let mut object = object(what, "", body);
        object["metadata"] = json!({"generateName": prefix});
        self.send("POST", self.path(what, ""), "application/json", object).await
    }

    pub async fn dry_run(&self, what: &str, name: &str, body: Value) -> Answer<'a> {
        let path = format!("{}?dryRun=All", self.path(what, ""));
        self.send("POST", path, "application/json", object(what, name, body)).await
    }

    /// Posts to a subresource, such as `Pod/binding`.
    pub async fn post(&self, what: &str, name: &str, body: Value) -> Answer<'a> {
        self.send("POST", self.path(what, name), "application/json", body).await
    }

    pub async fn apply(&self, what: &str, name: &str, body: Value) -> Answer<'a> {
        self.apply_as(&self.name.replace(':', "-"), what, name, body).await
    }

    /// The same under the name of a manager of fields.
    pub async fn apply_as(&self, manager: &str, what: &str, name: &str, body: Value) -> Answer<'a> {
        let path = format!("{}?fieldManager={manager}&force=true", self.path(what, name));
        self.send("PATCH", path, "application/apply-patch+yaml", object(what, name, body)).await
    }

    pub async fn merge(&self, what: &str, name: &str, patch: Value) -> Answer<'a> {
        self.send("PATCH", self.path(what, name), "application/merge-patch+json", patch).await
    }

    pub async fn json_patch(&self, what: &str, name: &str, patch: Value) -> Answer<'a> {
        self.send("PATCH", self.path(what, name), "application/json-patch+json", patch).await
    }

    /// Replaces an object by itself and a change.
    pub async fn replace(&self, what: &str, name: &str, change: &Value) -> Answer<'a> {
        loop {
            // Somebody who may not read it may know it.
            let eyes = Person { client: self.eyes.clone(), ..self.elsewhere(&self.namespace) };
            let mut whole = eyes.get(what.split('/').next().unwrap_or(what), name).await.body;
            merge_into(&mut whole, change);
            let answer = self.send("PUT", self.path(what, name), "application/json", whole).await;
            // Somebody wrote meanwhile.
            if answer.code != 409 {
                return answer;
            }
        }
    }

    pub async fn delete(&self, what: &str, name: &str) -> Answer<'a> {
        self.send("DELETE", self.path(what, name), "", Value::Null).await
    }

    /// Deletes all objects of a kind, in the namespace or by a query such as `?labelSelector=a%3Db`.
    pub async fn delete_all(&self, what: &str, query: &str) -> Answer<'a> {
        self.send("DELETE", format!("{}{query}", self.path(what, "")), "", Value::Null).await
    }

    /// Tries a change in every way that the API has. A `null` takes a field away.
    pub async fn change(&self, what: &str, name: &str, change: Value) -> Vec<Answer<'a>> {
        let mut answers = vec![
            self.replace(what, name, &change).await,
            self.merge(what, name, change.clone()).await,
            self.json_patch(what, name, operations(&change)).await,
        ];
        // What is applied is what one has; nothing of somebody else's is taken away by it.
        if !change.to_string().contains("null") {
            answers.push(self.apply(what, name, change).await);
        }
        answers
    }

    fn path(&self, what: &str, name: &str) -> String {
        let (kind, subresource) = what.split_once('/').unwrap_or((what, ""));
        let (version, plural, namespaced) = place(kind);
        let root = if version == "v1" { "/api".to_owned() } else { "/apis".to_owned() };
        let namespace = if namespaced { format!("/namespaces/{}", self.namespace) } else { String::new() };
        let tail = [name, subresource].into_iter().filter(|part| !part.is_empty());
        tail.fold(format!("{root}/{version}{namespace}/{plural}"), |path, part| format!("{path}/{part}"))
    }

    async fn send(&self, method: &str, path: String, content: &str, body: Value) -> Answer<'a> {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string().into_bytes()) };
        let mut request = http::Request::builder().method(method).uri(&path);
        if !content.is_empty() {
            request = request.header("content-type", content);
        }
        let answer = self.client.send(request.body(body).expect("a good request")).await;
        let answer = answer.unwrap_or_else(|error| panic!("no answer to {method} {path}: {error}"));
        let (parts, body) = answer.into_parts();
        let id = parts.headers.get("audit-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        let bytes = body.collect_bytes().await.unwrap_or_default();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| json!({"message": String::from_utf8_lossy(&bytes).trim()}));
        let what = format!("{method} {path} by {}", self.name);
        Answer { stage: self.stage, who: self.name.clone(), what, code: parts.status.as_u16(), body, id }
    }
}

/// What the API server answered.
pub struct Answer<'a> {
    stage: &'a Stage,
    who: String,
    what: String,
    pub code: u16,
    pub body: Value,
    id: String,
}

impl Answer<'_> {
    /// It was done.
    pub fn ok(self) -> Result<Value> {
        ensure!(self.code < 300, "{}: {}: {}", self.what, self.code, self.message());
        Ok(self.body)
    }

    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// RBAC refused it.
    pub async fn forbidden(&self) -> Result<()> {
        let told = self.message();
        ensure!(self.code == 403 && told.contains("cannot"), "{}: {}: {told}", self.what, self.code);
        self.is_logged("forbid").await
    }

    /// One of our policies refused it, and said this.
    pub async fn denied_by(&self, policy: &str, says: &str) -> Result<()> {
        let by = format!("ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: ");
        let told = self.message();
        ensure!(self.code == 403, "{}: {} instead of 403: {told}", self.what, self.code);
        ensure!(told.contains(&by), "{}: {policy} should have refused it, not: {told}", self.what);
        ensure!(told.contains(says), "{}: it says {told:?}, and not {says:?}", self.what);
        self.is_logged("allow").await
    }

    /// One of our policies did of which the name begins so, and said this; which of several is asked first is open.
    pub async fn denied_by_some(&self, policy: &str, says: &str) -> Result<()> {
        let told = self.message();
        let ours = told.contains(&format!("ValidatingAdmissionPolicy '{policy}")) && told.contains(says);
        ensure!(self.code == 403 && ours, "{}: {}: {told}", self.what, self.code);
        self.is_logged("allow").await
    }

    /// The API server itself refused it, and said this.
    pub async fn refused(&self, code: u16, says: &str) -> Result<()> {
        let told = self.message();
        ensure!(self.code == code && told.contains(says), "{}: {}: {told}", self.what, self.code);
        self.is_logged("").await
    }

    /// The API server's own record says who tried, and that it was refused.
    async fn is_logged(&self, decision: &str) -> Result<()> {
        let event = self.stage.logged(&self.id).await?;
        let user = event.pointer("/impersonatedUser/username").unwrap_or(&event["user"]["username"]);
        ensure!(*user == *self.who, "it is recorded of {user} that: {}", self.what);
        ensure!(event["responseStatus"]["code"] == self.code, "{event}");
        let said = &event["annotations"]["authorization.k8s.io/decision"];
        ensure!(decision.is_empty() || said == decision, "RBAC decided {said}: {}", self.what);
        Ok(())
    }
}

/// An object of a kind, as its author writes it.
fn object(what: &str, name: &str, mut body: Value) -> Value {
    let kind = what.split('/').next().unwrap_or(what);
    body["apiVersion"] = json!(place(kind).0);
    body["kind"] = json!(kind);
    body["metadata"]["name"] = json!(name);
    body
}

/// Where a kind is: its version, its plural, and whether it has namespaces.
fn place(kind: &str) -> (&'static str, &'static str, bool) {
    const CLOISTER: &str = "cloister.dev/v1alpha1";
    const RBAC: &str = "rbac.authorization.k8s.io/v1";
    const ADMISSION: &str = "admissionregistration.k8s.io/v1";
    match kind {
        "ResearchNamespace" => (CLOISTER, "researchnamespaces", false),
        "EgressAllowlist" => (CLOISTER, "egressallowlists", false),
        "StorageResource" => (CLOISTER, "storageresources", false),
        "AccessRole" => (CLOISTER, "accessroles", false),
        "AccessPolicy" => (CLOISTER, "accesspolicies", false),
        "CloisterConfig" => (CLOISTER, "cloisterconfigs", false),
        "StorageAccessGrant" => (CLOISTER, "storageaccessgrants", true),
        "EgressGrant" => (CLOISTER, "egressgrants", true),
        "RoleGrant" => (CLOISTER, "rolegrants", true),
        "AccessReview" => (CLOISTER, "accessreviews", true),
        "GrantMount" => (CLOISTER, "grantmounts", true),
        "Role" => (RBAC, "roles", true),
        "RoleBinding" => (RBAC, "rolebindings", true),
        "ClusterRole" => (RBAC, "clusterroles", false),
        "ClusterRoleBinding" => (RBAC, "clusterrolebindings", false),
        "NetworkPolicy" => ("networking.k8s.io/v1", "networkpolicies", true),
        "Deployment" => ("apps/v1", "deployments", true),
        "Event" => ("events.k8s.io/v1", "events", true),
        "ValidatingAdmissionPolicy" => (ADMISSION, "validatingadmissionpolicies", false),
        "ValidatingAdmissionPolicyBinding" => (ADMISSION, "validatingadmissionpolicybindings", false),
        "MutatingAdmissionPolicy" => (ADMISSION, "mutatingadmissionpolicies", false),
        "MutatingAdmissionPolicyBinding" => (ADMISSION, "mutatingadmissionpolicybindings", false),
        "CustomResourceDefinition" => ("apiextensions.k8s.io/v1", "customresourcedefinitions", false),
        "Namespace" => ("v1", "namespaces", false),
        "Pod" => ("v1", "pods", true),
        "Secret" => ("v1", "secrets", true),
        "ServiceAccount" => ("v1", "serviceaccounts", true),
        _ => panic!("where is {kind}?"),
    }
}

/// A merge patch (RFC 7396), done here.
fn merge_into(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().map(|fields| fields.remove(key));
        } else {
            merge_into(&mut target[key], value);
        }
    }
}

/// The same change as a JSON patch, field by field of what is changed.
fn operations(change: &Value) -> Value {
    let mut operations = Vec::new();
    for (part, fields) in change.as_object().into_iter().flatten() {
        match fields.as_object() {
            // The status may not be there yet.
            Some(_) if part == "status" => {
                operations.push(json!({"op": "add", "path": "/status", "value": fields}));
            }
            Some(fields) => operations.extend(fields.iter().map(|(field, value)| {
                let path = format!("/{part}/{}", field.replace('~', "~0").replace('/', "~1"));
                match value {
                    Value::Null => json!({"op": "remove", "path": path}),
                    value => json!({"op": "add", "path": path, "value": value}),
                }
            })),
            None => operations.push(json!({"op": "add", "path": format!("/{part}"), "value": fields})),
        }
    }
    json!(operations)
}

/// All of them were forbidden by RBAC.
pub async fn all_forbidden(answers: Vec<Answer<'_>>) -> Result<()> {
    for answer in answers {
        answer.forbidden().await?;
    }
    Ok(())
}

/// All of them were denied by this policy.
pub async fn all_denied(answers: Vec<Answer<'_>>, policy: &str, says: &str) -> Result<()> {
    for answer in answers {
        answer.denied_by(policy, says).await?;
    }
    Ok(())
}

/// All of them were refused by the kind itself.
pub async fn all_invalid(answers: Vec<Answer<'_>>, says: &str) -> Result<()> {
    for answer in answers {
        if answer.code != 422 {
            bail!("{}: {} instead of 422: {}", answer.what, answer.code, answer.message());
        }
        answer.refused(422, says).await?;
    }
    Ok(())
}
