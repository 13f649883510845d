//! A research namespace with a policy and a storage of its own, and what people do there.

use crate::{people::Person, stage::Stage};
use anyhow::{Context, Result, ensure};
use cloister_tests::{eventually, unique};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One research namespace. Everything of the catalogue that is its own has its name.
pub struct Story<'a> {
    pub stage: &'a Stage,
    pub name: String,
    /// Somebody whom RBAC refuses nothing.
    pub root: Person<'a>,
}

impl Story<'static> {
    /// In the cluster that tests share.
    pub async fn new(prefix: &str) -> Result<Self> {
        Story::on(Stage::shared().await, prefix).await
    }
}

impl<'a> Story<'a> {
    pub async fn on(stage: &'a Stage, prefix: &str) -> Result<Self> {
        let name = unique(prefix);
        let story = Story { stage, root: Person::named(stage, "root", &name).await?, name };
        let offered = json!({"annotations": {"cloister.dev/storage-resources": story.name}});
        let secret = json!({"metadata": offered, "stringData": {"token": "secret"}});
        story.root.elsewhere("cloister-credentials").apply("Secret", &story.name, secret).await.ok()?;
        story.policy(json!({})).await?;
        story.storage(json!({})).await?;
        let role = json!({"spec": {"clusterRole": "cloister:debugger", "accessPolicy": story.name}});
        story.publish("AccessRole", &story.name, role).await?;
        let user = |name: &str| json!({"kind": "User", "name": name});
        let spec = json!({
            "tier": "Standard", "serviceAccounts": [{"name": "trainer"}, {"name": "other"}],
            "members": [
                {"role": "Owner", "subjects": [user("olga")]},
                {"role": "Researcher", "subjects": [user("alice"), user("bob"), user("ivy")]},
            ],
        });
        let research = json!({"metadata": {"labels": {"story": story.name}}, "spec": spec});
        story.root.create("ResearchNamespace", &story.name, research).await.ok()?;
        eventually("the namespace to be ready", async || {
            let research = story.root.get("ResearchNamespace", &story.name).await.ok()?;
            for type_ in ["Enforced", "Ready"] {
                let found = condition(&research, type_).context("nothing is said of it")?;
                ensure!(found["status"] == "True" && found["reason"] != "Progressing", "{found}");
            }
            Ok(())
        })
        .await?;
        let alice = story.person("alice").await?;
        eventually("alice's rights, and the seal to be off", async || {
            let ask = json!({"spec": {"role": "none", "subjects": [{"kind": "User", "name": "alice"}]}});
            alice.dry_run("RoleGrant", "probe", ask).await.ok()?;
            alice.dry_run("Pod", "probe", pod("trainer")).await.ok()?;
            Ok(())
        })
        .await?;
        Ok(story)
    }

    /// One that was begun before.
    pub async fn at(stage: &'a Stage, name: &str) -> Result<Self> {
        Ok(Story { stage, root: Person::named(stage, "root", name).await?, name: name.to_owned() })
    }

    pub async fn person(&self, name: &str) -> Result<Person<'a>> {
        Person::named(self.stage, name, &self.name).await
    }

    /// Writes something into the catalogue, and waits until the operator has seen it: what is asked for before is about
    /// what was there before.
    pub async fn publish(&self, what: &str, name: &str, body: Value) -> Result<()> {
        let made = self.root.apply(what, name, body).await.ok()?;
        eventually(&format!("the operator to see {what} {name}"), async || {
            let seen = self.root.get(what, name).await.ok()?;
            ensure!(seen["status"]["observedGeneration"] == made["metadata"]["generation"], "{}", seen["status"]);
            Ok(())
        })
        .await
    }

    /// Sets the policy: one of security and one of the owners of the weights agree, but for what is said.
    pub async fn policy(&self, more: Value) -> Result<()> {
        let mut spec = json!({
            "requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "8h", "defaultDuration": "1h",
            "approvalRules": [
                {"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]},
                {"name": "owners", "required": 1, "approvers": [{"kind": "Group", "name": "weights-owners"}]},
            ],
        });
        update(&mut spec, more);
        self.publish("AccessPolicy", &self.name, json!({"spec": spec})).await
    }

    /// Sets the storage, but for what is said.
    pub async fn storage(&self, more: Value) -> Result<()> {
        let mut spec = json!({
            "sensitivity": "High",
            "endpoint": {"networks": ["198.51.100.0/28"], "ports": [{"port": 443}]},
            "roles": [{
                "name": "reader", "accessPolicy": self.name, "clusterRole": "cloister:storage-reader",
                "credential": {"secretRef": {"namespace": "cloister-credentials", "name": self.name}},
            }],
        });
        update(&mut spec, more);
        self.publish("StorageResource", &self.name, json!({"spec": spec})).await
    }

    /// What a StorageAccessGrant asks for, but for what is said.
    pub fn wish(&self, more: Value) -> Value {
        let mut spec = json!({
            "storage": self.name, "role": "reader", "justification": "a test",
            "mount": {"serviceAccountName": "trainer", "mountPath": "/var/run/cloister/data"},
            "subjects": [{"kind": "ServiceAccount", "name": "trainer"}],
        });
        update(&mut spec, more);
        json!({"spec": spec})
    }

    /// What a RoleGrant asks for: the AccessRole of the story, for somebody.
    pub fn wish_role(&self, who: &str) -> Value {
        json!({"spec": {"role": self.name, "justification": "a test", "subjects": [{"kind": "User", "name": who}]}})
    }

    /// Asks, and waits until the operator has looked at it.
    pub async fn ask(&self, who: &Person<'_>, what: &str, name: &str, wish: Value) -> Result<Value> {
        let made = who.create(what, name, wish).await.ok()?;
        self.looked_at(&made).await
    }

    /// Asks as alice for the storage.
    pub async fn alice_asks(&self, name: &str, more: Value) -> Result<Value> {
        self.ask(&self.person("alice").await?, "StorageAccessGrant", name, self.wish(more)).await
    }

    /// Asks as alice, and has what she asks for approved; until it is open.
    pub async fn opened(&self, name: &str, more: Value) -> Result<Value> {
        let grant = self.alice_asks(name, more).await?;
        self.approve(&grant).await?;
        self.until(&grant, "Active").await
    }

    async fn looked_at(&self, grant: &Value) -> Result<Value> {
        eventually("the operator to look at it", async || {
            let grant = self.again(grant).await?;
            ensure!(condition(&grant, "Ready").is_some(), "nothing is said of it: {grant}");
            Ok(grant)
        })
        .await
    }

    /// The grant as it is now.
    pub async fn again(&self, grant: &Value) -> Result<Value> {
        self.root.get(text(&grant["kind"]), text(&grant["metadata"]["name"])).await.ok()
    }

    pub async fn until(&self, grant: &Value, phase: &str) -> Result<Value> {
        eventually(&format!("{} to be {phase}", grant["metadata"]["name"]), async || {
            let grant = self.again(grant).await?;
            let status = &grant["status"];
            ensure!(status["phase"] == phase, "it is {}: {}: {}", status["phase"], status["reason"], ready(&grant));
            Ok(grant)
        })
        .await
    }

    /// Waits until a grant is over for this reason, which is recorded, and nothing stands in its name.
    pub async fn ends(&self, grant: &Value, phase: &str, reason: &str, says: &str) -> Result<Value> {
        let ended = self.until(grant, phase).await?;
        ensure!(ended["status"]["reason"] == reason, "it is {}: {}", ended["status"]["reason"], ready(&ended));
        ensure!(ready(&ended).contains(says), "it says {:?}, and not {says:?}", ready(&ended));
        let record = self.stage.recorded(uid(grant), &format!("grant.{}", phase.to_lowercase())).await?;
        ensure!(record["data"]["reason"] == reason, "{record}");
        let standing = self.standing_of(grant).await?;
        ensure!(standing.is_empty(), "there is left of it: {standing:?}");
        Ok(ended)
    }

    /// Somebody's decision on a grant, as they read it. Its name is made up.
    pub async fn review(&self, who: &Person<'_>, grant: &Value, decision: &str) -> Result<Value> {
        self.review_with(who, grant, decision, json!({})).await
    }

    pub async fn review_with(&self, who: &Person<'_>, grant: &Value, decision: &str, more: Value) -> Result<Value> {
        who.generate("AccessReview", "review-", self.decision(grant, decision, more)).await.ok()
    }

    pub fn decision(&self, grant: &Value, decision: &str, more: Value) -> Value {
        let mut spec = json!({
            "requestRef": {"kind": grant["kind"], "name": grant["metadata"]["name"], "uid": uid(grant)},
            "digest": grant["status"]["digest"], "decision": decision,
        });
        if spec["digest"].is_null() {
            // Nothing is decided about yet.
            spec["digest"] = json!(format!("v1:sha256:{}", "0".repeat(64)));
        }
        update(&mut spec, more);
        json!({"spec": spec})
    }

    /// One of security and one of the owners agree.
    pub async fn approve(&self, grant: &Value) -> Result<()> {
        for who in ["sam", "wendy"] {
            self.review(&self.person(who).await?, grant, "Approve").await?;
        }
        Ok(())
    }

    /// Waits until a review was judged, and returns why it counts or not.
    pub async fn judged(&self, review: &Value) -> Result<Value> {
        eventually("the review to be judged", async || {
            let review = self.root.get("AccessReview", text(&review["metadata"]["name"])).await.ok()?;
            condition(&review, "Counted").cloned().context("nothing is said of it")
        })
        .await
    }

    /// The review does not count: its author is told why, and that they tried is recorded.
    pub async fn does_not_count(&self, review: &Value, reason: &str, says: &str) -> Result<()> {
        let judged = eventually("the review to be refused", async || {
            let judged = self.judged(review).await?;
            ensure!(judged["status"] == "False", "it counts: {judged}");
            Ok(judged)
        })
        .await?;
        ensure!(judged["reason"] == reason && text(&judged["message"]).contains(says), "{judged}");
        let record = self.stage.recorded(uid(review), "review.refused").await?;
        let data = &record["data"];
        ensure!(data["reviewer"]["username"] == review["spec"]["reviewer"]["username"], "{record}");
        ensure!(data["reason"] == reason && data["digest"] == review["spec"]["digest"], "{record}");
        Ok(())
    }

    /// Nobody can say yet whether it counts.
    pub async fn waits(&self, review: &Value, reason: &str) -> Result<()> {
        eventually("the review to wait", async || {
            let judged = self.judged(review).await?;
            ensure!(judged["status"] == "Unknown" && judged["reason"] == reason, "{judged}");
            Ok(())
        })
        .await
    }

    pub async fn counts(&self, review: &Value) -> Result<()> {
        eventually("the review to count", async || {
            let judged = self.judged(review).await?;
            ensure!(judged["status"] == "True", "{judged}");
            Ok(())
        })
        .await
    }

    /// Waits until the operator has done what it had to do in the namespace by now.
    pub async fn settle(&self) -> Result<()> {
        let wish = json!({"spec": {"role": "none", "subjects": [{"kind": "User", "name": "root"}]}});
        let marker = self.root.create("RoleGrant", &unique("marker"), wish).await.ok()?;
        self.looked_at(&marker).await?;
        self.root.delete("RoleGrant", text(&marker["metadata"]["name"])).await.ok()?;
        Ok(())
    }

    /// The grant waits as before, and nothing but what stood before stands.
    pub async fn nothing_opened(&self, grant: &Value, before: &Standing) -> Result<()> {
        self.settle().await?;
        let now = self.again(grant).await?;
        ensure!(now["status"]["phase"] == "Pending", "it is {}: {}", now["status"]["phase"], ready(&now));
        self.unchanged(before).await?;
        let opened = ["grant.approved", "grant.activated"].map(|what| format!("dev.cloister.{what}.v1"));
        let record = self.stage.record(uid(grant))?;
        let told = record.iter().find(|one| opened.iter().any(|what| one["type"] == **what));
        ensure!(told.is_none(), "it is recorded that it opened: {told:?}");
        Ok(())
    }

    /// Nothing but what stood before stands, and as it stood.
    pub async fn unchanged(&self, before: &Standing) -> Result<()> {
        let now = self.standing().await?;
        for (what, content) in &now {
            let was = before.get(what).with_context(|| format!("{what} opened: {content}"))?;
            ensure!(was == content, "{what} was {was} and is {content}");
        }
        ensure!(now.len() == before.len(), "something is gone: {now:?} of {before:?}");
        Ok(())
    }

    /// Everything in the namespace that opens something, by kind and name.
    pub async fn standing(&self) -> Result<Standing> {
        let mut all = Standing::new();
        for what in ["RoleBinding", "Role", "NetworkPolicy", "GrantMount", "Secret"] {
            let list = self.root.list(what).await.ok()?;
            for object in list["items"].as_array().into_iter().flatten() {
                let mut object = object.clone();
                let metadata = object["metadata"].as_object_mut().context("metadata")?;
                for noise in ["managedFields", "resourceVersion", "generation"] {
                    metadata.remove(noise);
                }
                all.insert(format!("{what} {}", text(&object["metadata"]["name"])), object);
            }
        }
        Ok(all)
    }

    /// What stands in the name of a grant, and of its mount.
    pub async fn standing_of(&self, grant: &Value) -> Result<Vec<String>> {
        let name = text(&grant["metadata"]["name"]);
        let mount = format!("{}.reader.trainer", self.name);
        let all = self.standing().await?.into_keys();
        Ok(all.filter(|what| what.ends_with(&format!("grant.{name}")) || what.ends_with(&mount)).collect())
    }

    /// The name of the Secret that holds the copy.
    pub fn copy(&self) -> String {
        format!("cloister-grant-{}.reader.trainer", self.name)
    }
}

/// What opens something, by kind and name.
pub type Standing = BTreeMap<String, Value>;

/// A pod that the restricted Pod Security Standard admits.
pub fn pod(account: &str) -> Value {
    json!({"spec": {
        "serviceAccountName": account, "automountServiceAccountToken": false,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container("main")],
    }})
}

pub fn container(name: &str) -> Value {
    json!({
        "name": name, "image": "example.com/none",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    })
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub fn uid(object: &Value) -> &str {
    text(&object["metadata"]["uid"])
}

pub fn condition<'v>(object: &'v Value, type_: &str) -> Option<&'v Value> {
    // What the API server says by default, nobody has said.
    let mut said =
        object["status"]["conditions"].as_array()?.iter().filter(|one| one["reason"] != "WaitingForOperator");
    said.find(|condition| condition["type"] == type_)
}

/// What is said of an object.
pub fn ready(object: &Value) -> &str {
    condition(object, "Ready").map_or("", |ready| text(&ready["message"]))
}

/// Sets the fields that are named.
fn update(object: &mut Value, more: Value) {
    if let Value::Object(more) = more {
        more.into_iter().for_each(|(key, value)| object[key] = value);
    }
}
