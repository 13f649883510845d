use super::*;
use crate::grant::satisfiable::satisfiable;
use cloister_api::{AccessPolicySpec, Member, MemberRole, Subject};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;

fn policy(rules: serde_json::Value) -> AccessPolicySpec {
    serde_json::from_value(json!({"maxDuration": "1h", "approvalRules": rules})).unwrap()
}

fn rule(name: &str, required: u32, groups: &[&str]) -> serde_json::Value {
    let approvers: Vec<_> = groups.iter().map(|group| json!({"kind": "Group", "name": group})).collect();
    json!({"name": name, "required": required, "approvers": approvers})
}

fn person(name: &str, groups: &[&str]) -> Identity {
    Identity {
        username: name.into(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..Identity::default()
    }
}

struct Request {
    requester: Identity,
    subjects: Vec<Subject>,
    members: Vec<Member>,
    role_holders: Vec<&'static Subject>,
    policy: AccessPolicySpec,
}

impl Request {
    fn under(rules: serde_json::Value) -> Self {
        let requester = person("alice", &["researchers"]);
        Request {
            requester,
            subjects: Vec::new(),
            members: Vec::new(),
            role_holders: Vec::new(),
            policy: policy(rules),
        }
    }

    fn case(&self) -> Case<'_> {
        Case {
            namespace: "interp",
            members: &self.members,
            role_holders: &self.role_holders,
            requester: &self.requester,
            subjects: &self.subjects,
            for_namespace: self.subjects.iter().any(|subject| subject.kind == SubjectKind::ServiceAccount),
            policy_name: "weights",
            policy: &self.policy,
        }
    }

    fn is_met(&self, people: &[Identity]) -> bool {
        self.case().tally(&people.iter().collect::<Vec<_>>(), &[]).is_met
    }

    fn why_not(&self, reviewer: &Identity) -> &'static str {
        self.case().may_decide(reviewer, &[]).unwrap_err().reason()
    }
}

impl Case<'_> {
    fn may_decide(&self, reviewer: &Identity, accounts: &[&Identity]) -> Result<Vec<usize>, NotCounted> {
        self.judge(reviewer, &People::of(self, std::iter::once(reviewer).chain(accounts.iter().copied())))
    }
}

fn subject(kind: &str, name: &str) -> Subject {
    serde_json::from_value(json!({"kind": kind, "name": name})).unwrap()
}

#[test]
fn somebody_in_two_groups_never_blocks_a_quorum() {
    let request = Request::under(json!([rule("security", 1, &["security"]), rule("owners", 2, &["owners"])]));
    let (both, owner, other) =
        (person("both", &["security", "owners"]), person("olga", &["owners"]), person("otto", &["owners"]));
    assert!(!request.is_met(&[both.clone(), owner.clone()]), "each counts once");
    // Greedily, whoever comes first would take the wrong place.
    for people in [
        [both.clone(), owner.clone(), other.clone()],
        [owner.clone(), both.clone(), other.clone()],
        [owner.clone(), other.clone(), both.clone()],
    ] {
        assert!(request.is_met(&people));
    }
}

#[test]
fn two_accounts_of_one_person_count_once() {
    let request = Request::under(json!([rule("security", 2, &["security"])]));
    let key = |name: &str| Identity { person_key: "p7".into(), ..person(name, &["security"]) };
    assert!(!request.is_met(&[key("sam"), key("sam-admin")]));
    assert!(request.is_met(&[key("sam"), key("sam-admin"), person("sue", &["security"])]));
}

#[test]
fn two_accounts_that_a_third_ties_together_count_once() {
    let request = Request::under(json!([rule("security", 2, &["security"])]));
    let sam = Identity { uid: "u7".into(), ..person("sam", &["security"]) };
    let other = Identity { person_key: "p7".into(), ..person("sam-admin", &["security"]) };
    let between = Identity { uid: "u7".into(), person_key: "p7".into(), ..person("sam-old", &[]) };
    let agreed = [&sam, &other];
    assert!(request.case().tally(&agreed, &agreed).is_met);
    assert!(!request.case().tally(&agreed, &[&sam, &other, &between]).is_met);
}

#[test]
fn a_rule_names_the_account_that_may_decide_under_it() {
    let request = Request::under(json!([rule("security", 1, &["security"]), rule("owners", 1, &["owners"])]));
    let account = |name: &str, group: &str| Identity { person_key: "p7".into(), ..person(name, &[group]) };
    let (admin, own, olga) = (account("sam-admin", "owners"), account("sam", "security"), person("olga", &["owners"]));
    let tally = request.case().tally(&[&admin, &own, &olga], &[]);
    assert!(tally.is_met);
    assert_eq!(tally.approvals[0].approved_by, ["sam"]);
    assert_eq!(tally.approvals[1].approved_by, ["olga"]);
}

#[test]
fn who_profits_does_not_decide() {
    let mut request = Request::under(json!([rule("security", 1, &["security"])]));
    let groups = ["security", "researchers", "interp-team"];
    let sam = person("sam", &groups);
    assert_eq!(request.why_not(&person("sue", &["researchers"])), "NotAnApprover");
    assert_eq!(request.why_not(&person("alice", &groups)), "Requester");
    assert_eq!(request.why_not(&person("system:serviceaccount:a:b", &groups)), "ServiceAccount");
    assert!(request.case().may_decide(&sam, &[]).is_ok());
    request.subjects = vec![subject("User", "sam")];
    assert_eq!(request.why_not(&sam), "Beneficiary");
    request.subjects = vec![subject("Group", "interp-team")];
    assert_eq!(request.why_not(&sam), "InBeneficiaryGroup");
    request.subjects = vec![subject("ServiceAccount", "trainer")];
    assert!(request.case().may_decide(&sam, &[]).is_ok());
    let member = json!([{"role": "Researcher", "subjects": [{"kind": "Group", "name": "interp-team"}]}]);
    request.members = serde_json::from_value(member).unwrap();
    assert_eq!(request.why_not(&sam), "Member");
    request.members[0].role = MemberRole::Viewer;
    assert!(request.case().may_decide(&sam, &[]).is_ok());
}

#[test]
fn an_alias_of_the_requester_is_found_over_a_third_account() {
    let mut request = Request::under(json!([rule("security", 1, &["security"])]));
    request.requester.uid = "u1".into();
    let alias = Identity { person_key: "p".into(), ..person("sam", &["security"]) };
    let between = Identity { uid: "u1".into(), person_key: "p".into(), ..person("alice-admin", &[]) };
    assert!(request.case().may_decide(&alias, &[]).is_ok());
    assert_eq!(request.case().may_decide(&alias, &[&between]).unwrap_err().reason(), "Requester");
}

#[test]
fn two_people_agree_to_what_a_service_account_asks_for() {
    let mut request = Request::under(json!([rule("security", 1, &["security"])]));
    request.requester = person("system:serviceaccount:flux:sync", &[]);
    let (sam, sue) = (person("sam", &["security"]), person("sue", &["security"]));
    assert!(!request.is_met(std::slice::from_ref(&sam)));
    assert!(request.is_met(&[sam, sue]));
}

#[test]
fn a_policy_without_rules_is_never_met() {
    assert!(!Request::under(json!([])).is_met(&[person("sam", &["security"])]));
}

#[test]
fn a_quorum_larger_than_the_people_named_is_found() {
    let users = |names: &[&str]| names.iter().map(|name| json!({"kind": "User", "name": name})).collect::<Vec<_>>();
    let named = |name: &str, required: u32, names: &[&str]| json!({"name": name, "required": required, "approvers": users(names)});
    let spec = |rules| satisfiable(&policy(rules));
    assert_eq!(spec(json!([named("a", 1, &["sam", "sue"]), named("b", 1, &["sam"])])), Ok(Some(())));
    assert!(spec(json!([named("a", 1, &["sam"]), named("b", 1, &["sam"])])).is_err());
    assert!(spec(json!([named("a", 3, &["sam", "sue"])])).is_err());
    assert_eq!(spec(json!([rule("a", 9, &["security"])])), Ok(None));
    let account =
        json!([{"name": "a", "required": 1, "approvers": [{"kind": "ServiceAccount", "namespace": "a", "name": "b"}]}]);
    assert!(spec(account).is_err(), "a ServiceAccount does not review");
}

/// Whether the places can be filled, by trying every way.
fn can_be_met(people: &[BTreeSet<usize>], left: &mut [u32]) -> bool {
    if left.iter().all(|left| *left == 0) {
        return true;
    }
    let Some((first, rest)) = people.split_first() else { return false };
    for &rule in first {
        if left[rule] > 0 {
            left[rule] -= 1;
            let met = can_be_met(rest, left);
            left[rule] += 1;
            if met {
                return true;
            }
        }
    }
    can_be_met(rest, left)
}

proptest! {
    #[test]
    fn a_quorum_is_found_exactly_where_there_is_one(
        required in prop::collection::vec(1..3_u32, 1..4),
        groups in prop::collection::vec(prop::collection::btree_set(0..4_usize, 0..3), 0..7),
    ) {
        let names = ["g0", "g1", "g2", "g3"];
        let rules: Vec<_> = required.iter().enumerate().map(|(at, required)| rule(names[at], *required, &[names[at]])).collect();
        let request = Request::under(json!(rules));
        let people: Vec<Identity> = groups
            .iter()
            .enumerate()
            .map(|(at, groups)| person(&format!("p{at}"), &groups.iter().map(|group| names[*group]).collect::<Vec<_>>()))
            .collect();
        let eligible: Vec<BTreeSet<usize>> =
            groups.iter().map(|groups| groups.iter().copied().filter(|group| *group < required.len()).collect()).collect();
        prop_assert_eq!(request.is_met(&people), can_be_met(&eligible, &mut required.clone()));
        // Nobody counts twice.
        let tally = request.case().tally(&people.iter().collect::<Vec<_>>(), &[]);
        let mut all: Vec<&String> = tally.approvals.iter().flat_map(|rule| &rule.approved_by).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        prop_assert_eq!(all.len(), count);
    }
}
