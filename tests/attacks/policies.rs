//! The admission policies themselves, which no admission policy can guard: RBAC does.

use crate::{
    ledger::attack,
    people::{Person, all_forbidden},
    story::{Story, text},
};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

const KINDS: [&str; 4] = [
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
];
const OURS: &str = "?labelSelector=app.kubernetes.io%2Fpart-of%3Dcloister";

/// Everybody who has a role of ours, and the operator.
async fn everybody(story: &Story<'static>) -> Result<Vec<Person<'static>>> {
    let mut all =
        vec![Person::service_account(story.stage, "cloister-system", "cloister-operator", &story.name).await?];
    for who in ["alice", "olga", "sam", "wendy", "pia", "petra"] {
        all.push(story.person(who).await?);
    }
    Ok(all)
}

/// The names of what is shipped of a kind.
async fn shipped(story: &Story<'_>, kind: &str) -> Result<Vec<String>> {
    let all = story.root.list(kind).await.ok()?;
    let names = all["items"].as_array().context("items")?.iter().map(|one| text(&one["metadata"]["name"]).to_owned());
    let ours: Vec<String> = names.filter(|name| name.ends_with(".cloister.dev")).collect();
    ensure!(ours.len() > 3, "{kind}: {ours:?}");
    Ok(ours)
}

#[tokio::test]
async fn nobody_deletes_an_admission_policy() -> Result<()> {
    let attack = attack("the admission policies or their bindings deleted");
    let story = Story::new("undefended").await?;
    for kind in KINDS {
        let names = shipped(&story, kind).await?;
        for who in everybody(&story).await? {
            for name in &names {
                who.delete(kind, name).await.forbidden().await?;
            }
            who.delete_all(kind, OURS).await.forbidden().await?;
        }
        ensure!(shipped(&story, kind).await? == names);
    }
    attack.held()
}

#[tokio::test]
async fn nobody_weakens_an_admission_policy() -> Result<()> {
    let attack = attack("the admission policies set to Audit, to Ignore, or to match nothing");
    let story = Story::new("weakened").await?;
    let nothing = json!([{"name": "never", "expression": "false"}]);
    let weaker: [(&str, Vec<Value>); 4] = [
        (
            "ValidatingAdmissionPolicy",
            vec![json!({"spec": {"failurePolicy": "Ignore"}}), json!({"spec": {"matchConditions": nothing}})],
        ),
        (
            "ValidatingAdmissionPolicyBinding",
            vec![
                json!({"spec": {"validationActions": ["Audit"]}}),
                json!({"spec": {"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}}),
            ],
        ),
        (
            "MutatingAdmissionPolicy",
            vec![json!({"spec": {"failurePolicy": "Ignore"}}), json!({"spec": {"matchConditions": nothing}})],
        ),
        (
            "MutatingAdmissionPolicyBinding",
            vec![json!({"spec": {"paramRef": {"name": "other", "parameterNotFoundAction": "Allow"}}})],
        ),
    ];
    for (kind, changes) in weaker {
        let before = story.root.get(kind, "requester.cloister.dev").await.ok()?;
        for who in everybody(&story).await? {
            for change in &changes {
                all_forbidden(who.change(kind, "requester.cloister.dev", change.clone()).await).await?;
            }
            who.create(kind, "mine", json!({"spec": {}})).await.forbidden().await?;
        }
        let after = story.root.get(kind, "requester.cloister.dev").await.ok()?;
        ensure!(after["spec"] == before["spec"]);
    }
    attack.held()
}

#[tokio::test]
async fn nobody_takes_the_kinds_away() -> Result<()> {
    let attack = attack("the definitions of the kinds deleted or changed, and with them all that is recorded");
    let story = Story::new("kinds").await?;
    let loose = json!({"spec": {"preserveUnknownFields": true}});
    for who in everybody(&story).await? {
        for kind in ["accessreviews", "storageaccessgrants", "accesspolicies", "cloisterconfigs", "grantmounts"] {
            let name = format!("{kind}.cloister.dev");
            who.delete("CustomResourceDefinition", &name).await.forbidden().await?;
            all_forbidden(who.change("CustomResourceDefinition", &name, loose.clone()).await).await?;
        }
        who.delete_all("CustomResourceDefinition", "?labelSelector=x%3Dy").await.forbidden().await?;
    }
    attack.held()
}
