//! Deciding about what one gets oneself, and being somebody else on paper.

use crate::{
    ledger::attack,
    people::{Person, all_denied, all_invalid},
    story::{Story, ready, uid},
};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

#[tokio::test]
async fn nobody_approves_what_they_asked_for() -> Result<()> {
    let (attack, story) = (attack("self-approval"), Story::new("self").await?);
    let ivy = story.person("ivy").await?;
    let grant = story.ask(&ivy, "RoleGrant", "run", story.wish_role("ivy")).await?;
    let before = story.standing().await?;
    let review = story.review(&ivy, &grant, "Approve").await?;
    story.does_not_count(&review, "Requester", "ivy is the requester").await?;
    // With everybody else's agreement it is still one short.
    story.counts(&story.review(&story.person("wendy").await?, &grant, "Approve").await?).await?;
    story.nothing_opened(&grant, &before).await?;
    ensure!(ready(&story.again(&grant).await?).contains("1 more of security"));
    attack.held()
}

#[tokio::test]
async fn a_second_account_of_the_requester_does_not_approve() -> Result<()> {
    let (attack, story) =
        (attack("self-approval through an alias with the same person key"), Story::new("alias").await?);
    let account =
        async |name, groups: &[&str]| Person::account(story.stage, name, groups, "", &story.name, &story.name).await;
    let (alice, admin) = (account("alice", &["researchers"]).await?, account("alice.admin", &["security"]).await?);
    let grant = story.ask(&alice, "RoleGrant", "run", story.wish_role("alice")).await?;
    let before = story.standing().await?;
    let review = story.review(&admin, &grant, "Approve").await?;
    ensure!(review["spec"]["reviewer"]["personKey"] == *story.name);
    story.does_not_count(&review, "Requester", "alice.admin is the requester, with this or another account").await?;
    story.review(&story.person("wendy").await?, &grant, "Approve").await?;
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn an_account_with_the_requesters_uid_does_not_approve() -> Result<()> {
    let (attack, story) = (attack("self-approval through an account with the same uid"), Story::new("uid").await?);
    let account =
        async |name, groups: &[&str]| Person::account(story.stage, name, groups, &story.name, "", &story.name).await;
    let (alice, renamed) = (account("alice", &["researchers"]).await?, account("alice.new", &["security"]).await?);
    let grant = story.ask(&alice, "RoleGrant", "run", story.wish_role("alice")).await?;
    let before = story.standing().await?;
    let review = story.review(&renamed, &grant, "Approve").await?;
    story.does_not_count(&review, "Requester", "alice.new").await?;
    story.review(&story.person("wendy").await?, &grant, "Approve").await?;
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn accounts_are_tied_together_over_several_steps() -> Result<()> {
    let attack = attack("self-approval through a third account that shares only the second one's key");
    let story = Story::new("chain").await?;
    let (uid, key) = (format!("{}-uid", story.name), format!("{}-key", story.name));
    let account = async |name, groups: &[&str], uid: &str, key: &str| {
        Person::account(story.stage, name, groups, uid, key, &story.name).await
    };
    let alice = account("alice", &["researchers"], &uid, "").await?;
    let second = account("alice.two", &["weights-owners"], &uid, &key).await?;
    let third = account("alice.three", &["security"], "", &key).await?;
    let grant = story.ask(&alice, "RoleGrant", "run", story.wish_role("alice")).await?;
    let before = story.standing().await?;
    let two = story.review(&second, &grant, "Approve").await?;
    let three = story.review(&third, &grant, "Approve").await?;
    story.does_not_count(&two, "Requester", "alice.two").await?;
    story.does_not_count(&three, "Requester", "alice.three").await?;
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn who_is_in_the_group_that_gets_it_does_not_approve() -> Result<()> {
    let (attack, story) = (attack("approval by a member of the subject group"), Story::new("group").await?);
    let group = json!({"kind": "Group", "name": "security"});
    story.policy(json!({"beneficiaries": [group]})).await?;
    let wish = json!({"spec": {"role": story.name, "subjects": [group]}});
    let grant = story.ask(&story.person("alice").await?, "RoleGrant", "run", wish).await?;
    let before = story.standing().await?;
    let review = story.review(&story.person("sam").await?, &grant, "Approve").await?;
    story.does_not_count(&review, "InBeneficiaryGroup", "sam is in group security").await?;
    story.review(&story.person("wendy").await?, &grant, "Approve").await?;
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn who_gets_it_does_not_approve() -> Result<()> {
    let (attack, story) =
        (attack("approval by a beneficiary whom a colleague asked for"), Story::new("benefit").await?);
    story.policy(json!({"beneficiaries": [{"kind": "User", "name": "sam"}]})).await?;
    let grant = story.ask(&story.person("alice").await?, "RoleGrant", "run", story.wish_role("sam")).await?;
    let before = story.standing().await?;
    let review = story.review(&story.person("sam").await?, &grant, "Approve").await?;
    story.does_not_count(&review, "Beneficiary", "sam is a beneficiary").await?;
    story.review(&story.person("wendy").await?, &grant, "Approve").await?;
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn who_was_not_meant_to_get_it_is_not_given_it() -> Result<()> {
    let (attack, story) = (attack("a grant for somebody whom the policy does not name"), Story::new("gift").await?);
    let alice = story.person("alice").await?;
    let before = story.standing().await?;
    for (name, subject) in [
        ("other", json!({"kind": "User", "name": "mallory"})),
        ("group", json!({"kind": "Group", "name": "researchers"})),
    ] {
        let wish = json!({"spec": {"role": story.name, "subjects": [{"kind": "User", "name": "alice"}, subject]}});
        let grant = story.ask(&alice, "RoleGrant", name, wish).await?;
        story.ends(&grant, "Denied", "SubjectNotAllowed", "may not be a beneficiary").await?;
    }
    for subject in
        [json!({"kind": "Group", "name": "system:authenticated"}), json!({"kind": "User", "name": "system:admin"})]
    {
        let wish = json!({"spec": {"role": story.name, "subjects": [subject]}});
        alice.create("RoleGrant", "system", wish).await.refused(422, "cannot be named").await?;
    }
    let wish =
        json!({"spec": {"role": story.name, "subjects": [{"kind": "ServiceAccount", "name": "kube-system:default"}]}});
    alice.create("RoleGrant", "system", wish).await.refused(422, "by its plain name").await?;
    story.settle().await?;
    story.unchanged(&before).await?;
    attack.held()
}

#[tokio::test]
async fn members_do_not_approve_for_their_own_pods() -> Result<()> {
    let attack = attack("approval by an owner or researcher of the namespace whose ServiceAccount profits");
    let story = Story::new("member").await?;
    let grant = story.alice_asks("run", json!({})).await?;
    let before = story.standing().await?;
    for who in ["ivy", "olga"] {
        let review = story.review(&story.person(who).await?, &grant, "Approve").await?;
        story
            .does_not_count(&review, "Member", &format!("{who} is a member of research namespace {}", story.name))
            .await?;
    }
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn members_do_not_approve_egress_of_their_namespace() -> Result<()> {
    let (attack, story) = (attack("approval of egress by a member of the namespace"), Story::new("out").await?);
    let rule = json!({"spec": {"rule": {"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 443}]}}});
    let grant = story.ask(&story.person("alice").await?, "EgressGrant", "run", rule).await?;
    let before = story.standing().await?;
    let review = story.review(&story.person("ivy").await?, &grant, "Approve").await?;
    story.does_not_count(&review, "Member", "ivy is a member").await?;
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn a_service_account_does_not_approve() -> Result<()> {
    let (attack, story) =
        (attack("a ServiceAccount that reviews, named as an approver or by its groups"), Story::new("robot").await?);
    let rules =
        |approvers: Value| json!({"approvalRules": [{"name": "robots", "required": 1, "approvers": approvers}]});
    let named = json!([{"kind": "ServiceAccount", "namespace": story.name, "name": "other"}]);
    let answer = story.root.merge("AccessPolicy", &story.name, json!({"spec": rules(named)})).await;
    answer.refused(422, "a ServiceAccount does not approve").await?;
    let groups = json!([{"kind": "Group", "name": format!("system:serviceaccounts:{}", story.name)}]);
    let answer = story.root.merge("AccessPolicy", &story.name, json!({"spec": rules(groups)})).await;
    answer.refused(422, "groups of ServiceAccounts (system:serviceaccounts*) cannot be used").await?;
    story.policy(rules(json!([{"kind": "Group", "name": "system:authenticated"}]))).await?;
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:approver"},
        "subjects": [{"kind": "ServiceAccount", "namespace": story.name, "name": "other"}],
    });
    story.root.apply("ClusterRoleBinding", &story.name, binding).await.ok()?;
    let robot = Person::service_account(story.stage, &story.name, "other", &story.name).await?;
    let grant = story.ask(&story.person("alice").await?, "RoleGrant", "run", story.wish_role("alice")).await?;
    let before = story.standing().await?;
    let review =
        cloister_tests::eventually("its rights", async || story.review(&robot, &grant, "Approve").await).await?;
    story.does_not_count(&review, "ServiceAccount", "a person must").await?;
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

/// A ServiceAccount that may create grants, as GitOps has one.
async fn robot<'a>(story: &Story<'a>) -> Result<Person<'a>> {
    let robot = Person::service_account(story.stage, &story.name, "other", &story.name).await?;
    let rules = json!([{"apiGroups": ["cloister.dev"], "resources": ["rolegrants"], "verbs": ["create", "get"]}]);
    story.root.apply("ClusterRole", &story.name, json!({"rules": rules})).await.ok()?;
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": story.name},
        "subjects": [{"kind": "ServiceAccount", "namespace": story.name, "name": "other"}],
    });
    story.root.apply("ClusterRoleBinding", &story.name, binding).await.ok()?;
    cloister_tests::eventually("its rights", async || {
        robot.dry_run("RoleGrant", "probe", for_robot(story)).await.ok().map(drop)
    })
    .await?;
    Ok(robot)
}

fn for_robot(story: &Story<'_>) -> Value {
    json!({"spec": {"role": story.name, "subjects": [{"kind": "ServiceAccount", "name": "other"}]}})
}

#[tokio::test]
async fn nothing_is_approved_by_itself_for_a_service_account() -> Result<()> {
    let attack = attack("a ServiceAccount that asks where the policy approves by itself, with one approver");
    let story = Story::new("gitops").await?;
    story
        .policy(json!({
            "requesters": [{"kind": "ServiceAccount", "namespace": story.name, "name": "other"}], "autoApprove": ["true"],
            "approvalRules": [{"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]}],
        }))
        .await?;
    let robot = robot(&story).await?;
    let grant = story.ask(&robot, "RoleGrant", "run", for_robot(&story)).await?;
    let before = story.standing().await?;
    story.nothing_opened(&grant, &before).await?;
    story.counts(&story.review(&story.person("sam").await?, &grant, "Approve").await?).await?;
    story.nothing_opened(&grant, &before).await?;
    ensure!(
        ready(&story.again(&grant).await?)
            .contains("1 more of security (Group security), because the requester is a ServiceAccount")
    );
    // The second person makes the difference, and nothing else.
    story.review(&story.person("sue").await?, &grant, "Approve").await?;
    story.until(&grant, "Active").await?;
    attack.held()
}

#[tokio::test]
async fn a_service_account_does_not_ask_in_the_name_of_its_groups() -> Result<()> {
    let attack = attack("a ServiceAccount that asks where the policy names only its groups");
    let story = Story::new("crowd").await?;
    let group = |name: &str| json!({"requesters": [{"kind": "Group", "name": name}], "autoApprove": ["true"]});
    let answer = story.root.merge("AccessPolicy", &story.name, json!({"spec": group("system:serviceaccounts")})).await;
    answer.refused(422, "groups of ServiceAccounts (system:serviceaccounts*) cannot be used").await?;
    story.policy(group("system:authenticated")).await?;
    let grant = story.ask(&robot(&story).await?, "RoleGrant", "run", for_robot(&story)).await?;
    story.ends(&grant, "Denied", "RequesterNotAllowed", "is not among the requesters").await?;
    attack.held()
}

#[tokio::test]
async fn a_group_of_nearly_the_same_name_is_another() -> Result<()> {
    let attack = attack("a group whose name differs by case, by a prefix, or by a space");
    let story = Story::new("nearly").await?;
    let grant = story.ask(&story.person("alice").await?, "RoleGrant", "run", story.wish_role("alice")).await?;
    let before = story.standing().await?;
    story.counts(&story.review(&story.person("wendy").await?, &grant, "Approve").await?).await?;
    for group in ["Security", "security-interns", "securit", "security ", "oidc:security", "security\u{200b}"] {
        let groups = [group, "bystanders"];
        // A header ends before a blank; a certificate does not. It is looked at who is asked before who they are.
        let plain = group.is_ascii() && group.trim() == group;
        let who = if plain {
            Person::in_groups(story.stage, "mallory", &groups, &story.name).await?
        } else {
            Person::certified(story.stage, "mallory", &groups, &story.name).await?
        };
        let review = story.review(&who, &grant, "Approve").await?;
        let said = review["spec"]["reviewer"]["groups"].as_array();
        ensure!(said.is_some_and(|said| said.iter().any(|one| one == group)), "{review}");
        story.does_not_count(&review, "NotAnApprover", "mallory is not among the approvers").await?;
    }
    // Nor is a user a group.
    let named = Person::in_groups(story.stage, "security", &["bystanders"], &story.name).await?;
    let review = story.review(&named, &grant, "Approve").await?;
    story.does_not_count(&review, "NotAnApprover", "security is not among the approvers").await?;
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn a_requester_of_nearly_the_same_name_is_another() -> Result<()> {
    let (attack, story) =
        (attack("a requester whose name or group only looks like the policy's"), Story::new("who").await?);
    story.policy(json!({"requesters": [{"kind": "User", "name": "alice"}], "autoApprove": ["true"]})).await?;
    for (at, (name, group)) in [("Alice", "x"), ("alice2", "x"), ("bob", "alice")].into_iter().enumerate() {
        let who = Person::in_groups(story.stage, name, &[group, "system:masters"], &story.name).await?;
        let grant = story.ask(&who, "RoleGrant", &format!("run{at}"), story.wish_role(name)).await?;
        story.ends(&grant, "Denied", "RequesterNotAllowed", name).await?;
    }
    attack.held()
}

#[tokio::test]
async fn who_is_not_asked_does_not_decide() -> Result<()> {
    let (attack, story) =
        (attack("approval and refusal by somebody who is no approver"), Story::new("bystander").await?);
    let grant = story.alice_asks("run", json!({})).await?;
    let before = story.standing().await?;
    // A member may not, by whichever account.
    for (who, reason, why) in [
        ("bob", "Member", "is a member of research namespace"),
        ("mallory", "NotAnApprover", "is not among the approvers of AccessPolicy"),
    ] {
        let who = story.person(who).await?;
        for decision in ["Approve", "Deny"] {
            let review = story.review(&who, &grant, decision).await?;
            story.does_not_count(&review, reason, why).await?;
        }
        let review = story.review(&who, &grant, "Revoke").await?;
        story.does_not_count(&review, "MayNotRevoke", "may not revoke it").await?;
    }
    story.nothing_opened(&grant, &before).await?;
    // Nor did they stop it.
    story.approve(&grant).await?;
    let grant = story.until(&grant, "Active").await?;
    let review = story.review(&story.person("bob").await?, &grant, "Revoke").await?;
    story.does_not_count(&review, "MayNotRevoke", "bob may not revoke it").await?;
    story.settle().await?;
    ensure!(story.again(&grant).await?["status"]["phase"] == "Active");
    attack.held()
}

#[tokio::test]
async fn one_person_counts_for_one_rule() -> Result<()> {
    let attack = attack("one person in two groups who reviews twice");
    let story = Story::new("twice").await?;
    let grant = story.alice_asks("run", json!({})).await?;
    let before = story.standing().await?;
    let both = story.person("both").await?;
    for _ in 0..3 {
        story.counts(&story.review(&both, &grant, "Approve").await?).await?;
    }
    story.nothing_opened(&grant, &before).await?;
    let told = story.again(&grant).await?;
    ensure!(ready(&told).contains("1 more of"), "{}", ready(&told));
    attack.held()
}

#[tokio::test]
async fn two_accounts_of_one_person_are_one_approver() -> Result<()> {
    let attack = attack("two accounts of one approver who count as two");
    let story = Story::new("double").await?;
    let account = async |name, group| Person::account(story.stage, name, &[group], "", &story.name, &story.name).await;
    let grant = story.alice_asks("run", json!({})).await?;
    let before = story.standing().await?;
    for (name, group) in [("sam", "security"), ("sam.admin", "weights-owners")] {
        story.counts(&story.review(&account(name, group).await?, &grant, "Approve").await?).await?;
    }
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

/// What people say of themselves, and the same of somebody else's.
fn lies(field: &str) -> Vec<Value> {
    let sam = json!({"username": "sam", "uid": "", "groups": ["security", "system:authenticated"]});
    let groups = json!({"username": "mallory", "groups": ["bystanders", "security", "system:authenticated"]});
    let uid = json!({"username": "mallory", "uid": "7", "groups": ["bystanders", "system:authenticated"]});
    let key = json!({"username": "mallory", "groups": ["bystanders", "system:authenticated"], "personKey": "sam"});
    [sam, groups, uid, key].into_iter().map(|who| json!({field: who})).collect()
}

#[tokio::test]
async fn nobody_writes_who_decided() -> Result<()> {
    let attack = attack("a forged reviewer on create, generateName and server-side apply");
    let story = Story::new("forged").await?;
    let grant = story.alice_asks("run", json!({})).await?;
    let before = story.standing().await?;
    let mallory = story.person("mallory").await?;
    let root = Person::in_groups(story.stage, "mallory", &["bystanders", "system:masters"], &story.name).await?;
    for lie in lies("reviewer") {
        let person = lie["reviewer"]["personKey"].clone();
        let forged = story.decision(&grant, "Approve", lie);
        if person.is_string() {
            let made = mallory.dry_run("AccessReview", "forged", forged).await.ok()?;
            ensure!(made["spec"]["reviewer"]["personKey"] == "mallory", "the person is written over: {made}");
            continue;
        }
        for answer in [
            mallory.create("AccessReview", "forged", forged.clone()).await,
            mallory.generate("AccessReview", "forged-", forged.clone()).await,
            root.apply("AccessReview", "forged", forged).await,
        ] {
            answer.denied_by_some("reviewer", "spec.reviewer").await?;
        }
    }
    // A name alone is filled up with nothing.
    let forged = story.decision(&grant, "Approve", json!({"reviewer": {"username": "sam"}}));
    mallory
        .create("AccessReview", "forged", forged)
        .await
        .denied_by("reviewer.cloister.dev", "says who decided")
        .await?;
    // Without a name it is who it is.
    let forged = story.decision(&grant, "Approve", json!({"reviewer": {"username": "", "groups": ["security"]}}));
    let made = mallory.create("AccessReview", "forged", forged).await;
    if made.code < 300 {
        ensure!(
            made.body["spec"]["reviewer"]["groups"] == json!(["bystanders", "system:authenticated"]),
            "{}",
            made.body
        );
        story.does_not_count(&made.body, "NotAnApprover", "mallory").await?;
    } else {
        made.denied_by("reviewer.cloister.dev", "says who decided").await?;
    }
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn nobody_changes_who_decided() -> Result<()> {
    let attack = attack("a forged reviewer on update, patch, server-side apply and by the status");
    let story = Story::new("reforged").await?;
    let grant = story.alice_asks("run", json!({})).await?;
    let before = story.standing().await?;
    let review = story.review(&story.person("mallory").await?, &grant, "Approve").await?;
    let name = review["metadata"]["name"].as_str().unwrap_or_default();
    for lie in lies("reviewer") {
        all_invalid(story.root.change("AccessReview", name, json!({"spec": lie})).await, "cannot be changed").await?;
        let by_status =
            story.root.change("AccessReview/status", name, json!({"spec": lie, "status": {"observedGeneration": 1}}));
        all_denied(by_status.await, "status.cloister.dev", "only the operator writes it").await?;
    }
    // Taken away, it is put back.
    story.root.merge("AccessReview", name, json!({"spec": {"reviewer": null}})).await.ok()?;
    let after = story.root.get("AccessReview", name).await.ok()?;
    ensure!(after["spec"] == review["spec"], "{after}");
    story.does_not_count(&review, "NotAnApprover", "mallory").await?;
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn nobody_writes_who_asked() -> Result<()> {
    let attack = attack("a forged requester on create, generateName and server-side apply, of every kind");
    let story = Story::new("pretend").await?;
    let before = story.standing().await?;
    let rule = json!({"rule": {"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 443}]}});
    let bob = story.person("bob").await?;
    let root = Person::in_groups(story.stage, "bob", &["researchers", "system:masters"], &story.name).await?;
    for (what, wish) in [
        ("StorageAccessGrant", story.wish(json!({}))),
        ("RoleGrant", story.wish_role("alice")),
        ("EgressGrant", json!({"spec": rule})),
    ] {
        for lie in lies("requestedBy") {
            let mut forged = wish.clone();
            forged["spec"]["requestedBy"] = lie["requestedBy"].clone();
            for answer in [
                bob.create(what, "forged", forged.clone()).await,
                bob.generate(what, "forged-", forged.clone()).await,
                root.apply(what, "forged", forged).await,
            ] {
                answer.denied_by_some("requester", "spec.requestedBy").await?;
            }
        }
        let grants = story.root.list(what).await.ok()?;
        ensure!(grants["items"].as_array().is_some_and(Vec::is_empty), "{grants}");
    }
    story.unchanged(&before).await?;
    attack.held()
}

#[tokio::test]
async fn nobody_changes_who_asked() -> Result<()> {
    let attack = attack("a forged requester on update, patch, server-side apply and by the status");
    let story = Story::new("swap").await?;
    // Sam approves what mallory is said to have asked for, if only it were not Sam who asked.
    story.policy(json!({"requesters": [{"kind": "Group", "name": "security"}]})).await?;
    let sam = Person::in_groups(story.stage, "sam", &["security", "system:masters"], &story.name).await?;
    let grant = story.ask(&sam, "RoleGrant", "run", story.wish_role("sam")).await?;
    let before = story.standing().await?;
    for lie in
        lies("requestedBy").into_iter().chain([json!({"requestedBy": {"username": "sue", "groups": ["security"]}})])
    {
        if lie["requestedBy"]["username"] == "sam" {
            continue;
        }
        all_invalid(sam.change("RoleGrant", "run", json!({"spec": lie})).await, "cannot be changed").await?;
        let by_status = sam.change("RoleGrant/status", "run", json!({"spec": lie, "status": {"phase": "Pending"}}));
        all_denied(by_status.await, "status.cloister.dev", "only the operator writes it").await?;
    }
    sam.merge("RoleGrant", "run", json!({"spec": {"requestedBy": null}})).await.ok()?;
    let after = story.again(&grant).await?;
    ensure!(after["spec"] == grant["spec"] && uid(&after) == uid(&grant), "{after}");
    let review = story.review(&sam, &grant, "Approve").await?;
    story.does_not_count(&review, "Requester", "sam is the requester").await?;
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}
