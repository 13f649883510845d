//! How people decide about a request.

use super::{desk::*, grants::World};
use cloister_api::{Decision, GrantPhase, Identity};
use jiff::SignedDuration;
use serde_json::json;

const WAITING: (GrantPhase, &str) = (GrantPhase::Pending, "AwaitingApproval");

fn is_waiting(world: &World) -> bool {
    let (phase, reason) = said(world, "eval");
    (phase, reason.as_str()) == WAITING && world.objects.0.is_empty()
}

/// A request that waits, after these have agreed.
fn agreed(who: &[Identity]) -> World {
    let mut world = by_people(json!({}));
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    who.iter().for_each(|who| review(&mut world, "eval", Decision::Approve, who.clone()));
    settle(&mut world);
    world
}

#[test]
fn a_request_opens_when_all_who_must_have_agreed() {
    let [sam, olga, otto] = enough();
    for few in [&[][..], &[sam.clone(), olga.clone()], &[olga.clone(), otto.clone()], &[sam.clone(), sam.clone()]] {
        assert!(is_waiting(&agreed(few)), "{few:?}");
    }
    let world = agreed(&[olga, otto, sam]);
    let status = status(&world, "eval");
    assert_eq!(said(&world, "eval"), (GrantPhase::Active, "Active".into()));
    let by: Vec<(&str, Vec<String>)> = status.approvals.iter().map(|a| (&*a.rule, a.approved_by.clone())).collect();
    assert_eq!(by, [("security", vec!["sam".to_owned()]), ("owners", vec!["olga".to_owned(), "otto".to_owned()])]);
    assert_eq!((status.reviews.len(), status.approved_at.unwrap().0), (3, world.now));
    assert_eq!(status.policy.unwrap().uid, "uid-standard");
}

#[test]
fn somebody_who_agrees_again_and_again_is_in_nobodys_way() {
    let [sam, olga, otto] = enough();
    let often = std::iter::repeat_n(sam, 70).chain([olga, otto]).collect::<Vec<_>>();
    let world = agreed(&often);
    assert_eq!(said(&world, "eval"), (GrantPhase::Active, "Active".into()));
    assert_eq!(status(&world, "eval").reviews.len(), 3);
}

#[test]
fn who_has_agreed_so_far_is_told() {
    let [sam, olga, _] = enough();
    let world = agreed(&[sam, olga]);
    let ready = status(&world, "eval").conditions.into_iter().find(|c| c.type_ == "Ready").unwrap();
    assert!(ready.message.ends_with("1 more of owners (Group owners)"), "{}", ready.message);
    assert_eq!(status(&world, "eval").approvals[1].approved_by, ["olga"]);
}

#[test]
fn a_refusal_by_an_approver_ends_a_request_and_one_by_anybody_else_does_not() {
    let approver = person("sue", &["security"]);
    let others = [
        person("bob", &["researchers"]),
        person("alice", &["security"]),
        person("system:serviceaccount:interp:bot", &["security"]),
    ];
    for other in others {
        let mut world = agreed(&[]);
        review(&mut world, "eval", Decision::Deny, other);
        settle(&mut world);
        assert!(is_waiting(&world));
    }
    let mut world = agreed(&[]);
    review(&mut world, "eval", Decision::Deny, approver);
    all_agree(&mut world, "eval");
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Denied, "Denied".into()), "a refusal outweighs all who agree");
    assert_eq!(status(&world, "eval").reviews[0].reviewer.username, "sue");
}

#[test]
fn a_requester_takes_a_request_back() {
    let mut world = agreed(&[]);
    review(&mut world, "eval", Decision::Revoke, person("bob", &["researchers"]));
    settle(&mut world);
    assert!(is_waiting(&world));
    review(&mut world, "eval", Decision::Revoke, person("alice", &["researchers"]));
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Denied, "Withdrawn".into()));
    assert_eq!(
        message(&world, "eval"),
        "alice withdrew it before it was decided. It stays denied: if it is still needed, delete it, and ask again"
    );
}

/// An approver, or who gets it, asked for nothing that could be taken back.
#[test]
fn whoever_else_revokes_a_request_does_not_take_it_back() {
    let mut world = agreed(&[]);
    review(&mut world, "eval", Decision::Revoke, person("sam", &["security"]));
    world.reviews[0].spec.comment = "not this week".into();
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Denied, "RevokedByReview".into()));
    assert_eq!(
        message(&world, "eval"),
        "sam revoked it before it was decided: not this week. It stays denied: if it is still needed, talk to sam, delete it, \
         and ask again"
    );
}

/// The only one who could decide asks, or gets it.
#[test]
fn that_nobody_is_left_who_could_approve_is_said() {
    let rule = |who: &[&str], required: u32| {
        let approvers: Vec<_> = who.iter().map(|name| json!({"kind": "User", "name": name})).collect();
        json!({"autoApprove": [], "approvalRules": [{"name": "a", "required": required, "approvers": approvers}]})
    };
    let asked = |terms: serde_json::Value, more: serde_json::Value| {
        let mut world = World { policy: policy(terms), ..world() };
        ask(&mut world, "role/debug", more);
        settle(&mut world);
        world
    };
    let world = asked(rule(&["alice", "alice"], 1), json!({}));
    assert_eq!(told(&world, "role/debug"), (GrantPhase::Pending, "NoApproverLeft".into(), true));
    assert_eq!(
        message(&world, "role/debug"),
        "waits for approval under AccessPolicy standard: 1 more of a (User alice); no approver is left: a requester cannot \
         approve; without alice, rule a requires 1 approval, and has 0 approvers; name more people or another group, who are \
         neither requester nor beneficiary. Ask a policy administrator (ClusterRole cloister:policy-admin) to do that, or delete the grant"
    );
    let to_sam = json!({"subjects": [{"kind": "User", "name": "sam"}]});
    let terms = merged(rule(&["alice", "sam"], 1), json!({"beneficiaries": [{"kind": "User", "name": "sam"}]}));
    assert_eq!(told(&asked(terms, to_sam), "role/debug").1, "NoApproverLeft");
    assert_eq!(told(&asked(rule(&["alice", "sam"], 1), json!({})), "role/debug").1, "AwaitingApproval");
    assert_eq!(told(&asked(rule(&["alice", "sam"], 2), json!({})), "role/debug").1, "NoApproverLeft");
    // Everybody of a group is barred by it: that it gets it, or is of the namespace whose pods do.
    let (team, owners) = (json!([{"kind": "Group", "name": "team"}]), json!([{"kind": "Group", "name": "owners"}]));
    let by_team = json!({"autoApprove": [], "approvalRules": [{"name": "a", "required": 1, "approvers": team}]});
    let terms = merged(
        by_team.clone(),
        json!({"beneficiaries": [{"kind": "Group", "name": "team"}, {"kind": "Group", "name": "owners"}]}),
    );
    assert_eq!(told(&asked(terms.clone(), json!({"subjects": team})), "role/debug").1, "NoApproverLeft");
    assert_eq!(told(&asked(terms, json!({"subjects": owners})), "role/debug").1, "AwaitingApproval");
    for role in ["Owner", "Researcher"] {
        let members = serde_json::from_value(json!([{"role": role, "subjects": team}])).unwrap();
        let mut world = World { policy: policy(by_team.clone()), members, ..self::world() };
        ask(&mut world, "role/debug", json!({}));
        settle(&mut world);
        assert_eq!(told(&world, "role/debug").1, "NoApproverLeft");
    }
}

#[test]
fn a_review_of_something_else_does_not_count() {
    let digest = |world: &mut World| world.reviews[0].spec.digest = format!("v1:sha256:{:064}", 0);
    let uid = |world: &mut World| world.reviews[0].spec.request_ref.uid = "uid-before".into();
    let unknown = |world: &mut World| world.reviews[0].spec.reviewer = None;
    for change in [digest as fn(&mut World), uid, unknown] {
        let mut world = agreed(&[]);
        all_agree(&mut world, "eval");
        change(&mut world);
        settle(&mut world);
        assert!(is_waiting(&world));
    }
}

#[test]
fn a_request_that_is_made_again_is_approved_anew() {
    let mut world = agreed(&enough());
    world.grants.clear();
    ask(&mut world, "eval", json!({}));
    world.grants.get_mut("eval").unwrap().metadata_mut().uid = Some("uid-again".into());
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (WAITING.0, WAITING.1.into()));
    assert_eq!(world.children_of("eval"), 0);
}

#[test]
fn a_changed_policy_drops_the_reviews_of_a_request() {
    let [sam, olga, otto] = enough();
    let mut world = agreed(&[sam.clone(), olga.clone()]);
    world.policy = by_people(json!({"maxDuration": "2h"})).policy;
    review(&mut world, "eval", Decision::Approve, otto);
    settle(&mut world);
    assert!(is_waiting(&world), "what they agreed to was another policy");
    assert!(status(&world, "eval").approvals.iter().all(|rule| rule.approved_by.is_empty()));
    all_agree(&mut world, "eval");
    settle(&mut world);
    assert_eq!(said(&world, "eval").0, GrantPhase::Active);
}

#[test]
fn nobody_decides_too_late() {
    let mut world = agreed(&[]);
    all_agree(&mut world, "eval");
    world.now += SignedDuration::from_hours(24);
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::TimedOut, "TimedOut".into()));
}

#[test]
fn members_do_not_decide_about_what_their_pods_get() {
    let member = |role: &str| json!([{"role": role, "subjects": [{"kind": "User", "name": "sam"}]}]);
    for (role, phase) in
        [("Owner", GrantPhase::Pending), ("Researcher", GrantPhase::Pending), ("Viewer", GrantPhase::Active)]
    {
        for key in ["eval", "egress/lab", "role/debug"] {
            let mut world = by_people(json!({}));
            world.members = serde_json::from_value(member(role)).unwrap();
            ask(&mut world, key, json!({}));
            settle(&mut world);
            all_agree(&mut world, key);
            settle(&mut world);
            assert_eq!(said(&world, key).0, phase, "{role} {key}");
        }
    }
}
