//! Being somebody else by Kubernetes' own means.

use crate::{ledger::attack, people::Person, story::Story};
use anyhow::{Result, ensure};
use cloister_tests::eventually;
use serde_json::{Value, json};

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

#[tokio::test]
async fn nobody_poses_as_an_approver() -> Result<()> {
    let attack = attack("a review made with --as by people of every role");
    let story = Story::new("pose").await?;
    let grant = story.alice_asks("run", json!({})).await?;
    let before = story.standing().await?;
    for who in ["alice", "olga", "sam", "pia", "petra"] {
        for pose in [
            vec![("impersonate-user", "sam"), ("impersonate-group", "security")],
            vec![("impersonate-user", who), ("impersonate-group", "weights-owners")],
            vec![("impersonate-user", who), ("impersonate-uid", "7")],
            vec![("impersonate-user", who), ("impersonate-extra-example.com%2fperson", "somebody-else")],
        ] {
            let posing = Person::posing_as(story.stage, who, &pose, &story.name).await?;
            let review = story.decision(&grant, "Approve", json!({}));
            let answer = posing.create("AccessReview", "posed", review).await;
            answer.refused(403, "cannot impersonate").await?;
        }
    }
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn whoever_lets_a_tenant_pose_raises_an_alarm() -> Result<()> {
    let attack = attack("RBAC that lets tenants impersonate, written outside of the research namespaces");
    let story = Story::new("alarm").await?;
    // Tenants of its own: those of other stories must go on without the right.
    let (group, user) = (format!("{}-group", story.name), format!("{}-user", story.name));
    let requesters = json!([{"kind": "Group", "name": group}, {"kind": "User", "name": user}]);
    story.policy(json!({"requesters": requesters})).await?;
    let operator = story.stage.operator();
    let count = async || operator.metric("cloister_alerts", "alert=\"Impersonation\"").await;
    ensure!(count().await? == 0.0, "nobody may to begin with");
    let rule =
        |group: &str, verb: &str| json!([{"apiGroups": [group], "resources": ["users", "groups"], "verbs": [verb]}]);
    let tenant = |kind: &str, name: &str| json!({"apiGroup": RBAC_GROUP, "kind": kind, "name": name});
    let mut names = Vec::new();
    for (at, (rules, subject)) in [
        (rule("", "impersonate"), tenant("Group", &group)),
        (rule("authentication.k8s.io", "impersonate:user-info"), tenant("User", &user)),
        (rule("*", "*"), tenant("Group", &format!("system:serviceaccounts:{}", story.name))),
        (rule("", "impersonate"), json!({"kind": "ServiceAccount", "namespace": story.name, "name": "trainer"})),
    ]
    .into_iter()
    .enumerate()
    {
        // No Event can be named after the last.
        let name = format!("{}{}{at}", story.name, if at == 3 { ":" } else { "-" });
        story.root.apply("ClusterRole", &name, json!({"rules": rules})).await.ok()?;
        let binding = json!({
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": name}, "subjects": [subject],
        });
        story.root.apply("ClusterRoleBinding", &name, binding).await.ok()?;
        names.push(name);
    }
    // Not a tenant, and so no alarm.
    let admins = json!({
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": names[0]},
        "subjects": [tenant("User", &format!("admin-of-{}", story.name))],
    });
    let admin = format!("{}-admin", story.name);
    story.root.apply("ClusterRoleBinding", &admin, admins).await.ok()?;
    eventually("the alarm", async || {
        let found = count().await?;
        ensure!(found == 4.0, "it counts {found}");
        Ok(())
    })
    .await?;
    let default = story.root.elsewhere("default");
    eventually("an Event on each binding", async || {
        let events = default.list("Event").await.ok()?;
        let of = |name: &str| {
            let mut all = events["items"].as_array().into_iter().flatten();
            let about = if name.contains(':') { "cloister" } else { name };
            let is_it = |event: &&Value| {
                event["regarding"]["name"] == about
                    && event["reason"] == "Impersonation"
                    && event["note"].to_string().contains(name)
            };
            all.find(is_it).cloned()
        };
        for name in &names {
            let Some(event) = of(name) else { anyhow::bail!("there is none on {name}") };
            ensure!(event["type"] == "Warning" && says(&event), "{event}");
        }
        ensure!(of(&admin).is_none(), "there is one on {admin}");
        Ok(())
    })
    .await?;
    // The alarm stays up until the right is taken away.
    for name in names.iter().chain([&admin]) {
        story.root.delete("ClusterRoleBinding", name).await.ok()?;
    }
    eventually("the alarm to end", async || {
        ensure!(count().await? == 0.0, "it is up");
        Ok(())
    })
    .await?;
    attack.held()
}

fn says(event: &Value) -> bool {
    event["note"]
        .as_str()
        .is_some_and(|note| note.contains("a review that is written in this way looks like a real one"))
}
