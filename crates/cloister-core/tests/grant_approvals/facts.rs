//! What follows from what is there, by brute force: who is whose account, who may decide, and whether those who agree are
//! enough.

use super::{
    grants::{Shelf, World},
    model::Catalogue,
};
use cloister_api::*;
use cloister_core::{grant::Grant, model::child::Child};
use std::collections::BTreeSet;

/// What a review or an approval is about: the grant's uid, the policy, and what it is for.
pub type Meaning = (String, (&'static str, u32), Target);
pub type Target = (&'static str, &'static str);

/// Whether a child lets something through, somebody in, or a credential be mounted.
pub fn is_open(child: &Child) -> bool {
    let version = |mount: &GrantMount| mount.metadata.annotations.as_ref()?.get(labels::CREDENTIAL_VERSION).cloned();
    match child {
        Child::GrantMount(mount) => version(mount).is_some_and(|version| !version.is_empty()),
        _ => true,
    }
}

pub fn meaning(grant: &Grant, catalogue: Catalogue) -> Meaning {
    // That the operator may not bind a role says nothing about the role.
    let role = if catalogue.role == "unbindable" { "debug" } else { catalogue.role };
    let target = match grant {
        Grant::Storage(_) => (catalogue.storage, role),
        Grant::Role(_) => ("", role),
        Grant::Egress(_) => ("", ""),
    };
    (grant.metadata().uid.clone().unwrap(), (catalogue.policy, catalogue.again), target)
}

/// The reviews of a grant.
pub fn of<'a>(world: &'a World, grant: &Grant) -> Vec<&'a AccessReview> {
    let uid = grant.metadata().uid.as_ref().unwrap();
    world.reviews.iter().filter(|review| review.spec.request_ref.uid == *uid).collect()
}

pub fn subjects(grant: &Grant) -> &[Subject] {
    match grant {
        Grant::Storage(grant) => &grant.spec.subjects,
        Grant::Role(grant) => &grant.spec.subjects,
        Grant::Egress(_) => &[],
    }
}

pub fn is_among(principals: &[Principal], who: &Identity) -> bool {
    let account = who.username.strip_prefix("system:serviceaccount:");
    principals.iter().any(|principal| match (principal.kind, account) {
        (SubjectKind::User, None) => principal.name == who.username,
        (SubjectKind::Group, None) => who.groups.contains(&principal.name),
        (SubjectKind::ServiceAccount, Some(account)) => {
            account == format!("{}:{}", principal.namespace.as_deref().unwrap_or_default(), principal.name)
        }
        _ => false,
    })
}

/// Whether somebody may ask for this, for these.
pub fn permitted(grant: &Grant, requester: &Identity, policy: &AccessPolicySpec) -> Result<(), &'static str> {
    let may = if grant.terms().break_glass {
        let glass = policy.break_glass.as_ref().ok_or("there is no glass")?;
        !requester.username.starts_with("system:serviceaccount:") && is_among(&glass.requesters, requester)
    } else {
        is_among(&policy.requesters, requester)
    };
    if !may {
        return Err("who asked may not");
    }
    let all = subjects(grant).iter().all(|subject| policy.beneficiaries.contains(subject));
    if all { Ok(()) } else { Err("somebody may not get it") }
}

pub fn keeps(policy: &AccessPolicySpec) -> bool {
    policy.when_requester_leaves == WhenRequesterLeaves::Keep
}

/// Whether the namespace declares the ServiceAccounts that get it.
pub fn all_are_declared(world: &World, grant: &Grant) -> Result<(), &'static str> {
    let mut accounts = subjects(grant).iter().filter(|subject| subject.kind == SubjectKind::ServiceAccount);
    let all = accounts.all(|subject| world.accounts.iter().any(|account| account.name == subject.name));
    if all { Ok(()) } else { Err("an account is gone") }
}

pub fn strong_enough(world: &World, grant: &Grant, policy: &AccessPolicySpec) -> Result<(), &'static str> {
    let (Grant::Storage(_), Shelf::Read(storage)) = (grant, &world.storage) else { return Ok(()) };
    let least = match storage.spec.sensitivity {
        Sensitivity::Low => world.settings.spec.minimum_approvals.low,
        _ => 2,
    };
    let people: u32 = policy.approval_rules.iter().map(|rule| rule.required).sum();
    let people = if policy.auto_approve.is_empty() { people } else { 0 };
    if people >= least { Ok(()) } else { Err("the policy is too weak") }
}

pub fn is_one(one: &Identity, other: &Identity) -> bool {
    let same = |one: &str, other: &str| !one.is_empty() && one == other;
    one.username == other.username || same(&one.uid, &other.uid) || same(&one.person_key, &other.person_key)
}

/// Everybody who is known to have had to do with a grant.
pub fn accounts(reviews: &[&AccessReview], requester: &Identity, by: &[Identity]) -> Vec<Identity> {
    let reviewers = reviews.iter().filter_map(|review| review.spec.reviewer.clone());
    [requester.clone()].into_iter().chain(by.iter().cloned()).chain(reviewers).collect()
}

/// All accounts of the person who has this one.
pub fn person<'a>(who: &'a Identity, accounts: &'a [Identity]) -> Vec<&'a Identity> {
    let mut person = vec![who];
    loop {
        let known = |account: &&Identity| person.iter().any(|mine| is_one(mine, account));
        let more: Vec<&Identity> = accounts.iter().filter(known).filter(|account| !person.contains(account)).collect();
        if more.is_empty() {
            return person;
        }
        person.extend(more);
    }
}

pub fn is_member(world: &World, who: &Identity, roles: &[MemberRole]) -> bool {
    let members = world.members.iter().filter(|member| roles.contains(&member.role));
    members.flat_map(|member| &member.subjects).any(|subject| {
        let subject = Subject { kind: subject.kind, name: subject.name.clone() };
        is_subject(&subject, who)
    })
}

/// Of whoever asks and the users who get it, those who are members. Of a user nothing is known but the name.
pub fn members_of(world: &World, grant: &Grant) -> BTreeSet<String> {
    let users = subjects(grant).iter().filter(|subject| subject.kind == SubjectKind::User);
    let users = users.map(|user| Identity { username: user.name.clone(), ..Identity::default() });
    let people = users.chain(grant.terms().requested_by.cloned());
    let all = [MemberRole::Owner, MemberRole::Researcher, MemberRole::Viewer];
    people.filter(|who| is_member(world, who, &all)).map(|who| who.username).collect()
}

/// Whether somebody has a role in the namespace by another grant.
pub fn has_role(world: &World, grant: &Grant, who: &Identity) -> bool {
    let stands = |phase: GrantPhase| matches!(phase, GrantPhase::Approved | GrantPhase::Active | GrantPhase::Revoking);
    world.grants.iter().any(|(key, other)| {
        let Grant::Role(role) = other else { return false };
        let is_another = other.metadata().uid != grant.metadata().uid && world.can_read(key);
        is_another && stands(other.phase()) && role.spec.subjects.iter().any(|subject| is_subject(subject, who))
    })
}

pub fn is_subject(subject: &Subject, who: &Identity) -> bool {
    match subject.kind {
        SubjectKind::User => subject.name == who.username,
        SubjectKind::Group => who.groups.contains(&subject.name),
        SubjectKind::ServiceAccount => false,
    }
}

/// The rules that somebody may decide under.
pub fn rules_of(
    world: &World,
    grant: &Grant,
    requester: &Identity,
    who: &Identity,
    accounts: &[Identity],
    policy: &AccessPolicySpec,
) -> BTreeSet<usize> {
    let person = person(who, accounts);
    let subjects = subjects(grant);
    let for_pods = matches!(grant, Grant::Egress(_)) || subjects.iter().any(|s| s.kind == SubjectKind::ServiceAccount);
    let concerned = person.iter().any(|account| {
        is_one(account, requester)
            || subjects.iter().any(|subject| is_subject(subject, account))
            || for_pods && is_member(world, account, &[MemberRole::Owner, MemberRole::Researcher])
            || for_pods && has_role(world, grant, account)
    });
    if concerned || who.username.starts_with("system:serviceaccount:") {
        return BTreeSet::new();
    }
    let rules = policy.approval_rules.iter().enumerate();
    rules.filter(|(_, rule)| is_among(&rule.approvers, who)).map(|(at, _)| at).collect()
}

pub fn revokes(
    world: &World,
    grant: &Grant,
    requester: &Identity,
    review: &AccessReview,
    policy: &AccessPolicySpec,
) -> bool {
    let Some(who) = &review.spec.reviewer else { return false };
    review.spec.decision == Decision::Revoke
        && !who.username.starts_with("system:serviceaccount:")
        && (policy.approval_rules.iter().any(|rule| is_among(&rule.approvers, who))
            || is_one(who, requester)
            || subjects(grant).iter().any(|subject| is_subject(subject, who))
            || is_member(world, who, &[MemberRole::Owner]))
}

/// Whether those who agree are enough: every way to give each person one place is tried.
pub fn enough(
    world: &World,
    grant: &Grant,
    requester: &Identity,
    by: &[Identity],
    accounts: &[Identity],
    policy: &AccessPolicySpec,
) -> Result<(), &'static str> {
    let mut people: Vec<(Vec<&Identity>, BTreeSet<usize>)> = Vec::new();
    for who in by {
        let rules = rules_of(world, grant, requester, who, accounts, policy);
        if rules.is_empty() {
            continue;
        }
        match people.iter_mut().find(|(known, _)| known.contains(&who)) {
            Some((_, known)) => known.extend(rules),
            None => people.push((person(who, accounts), rules)),
        }
    }
    let is_account = requester.username.starts_with("system:serviceaccount:");
    if policy.approval_rules.is_empty() || is_account && people.len() < 2 {
        return Err("too few have agreed");
    }
    let mut left: Vec<u32> = policy.approval_rules.iter().map(|rule| rule.required).collect();
    let people: Vec<BTreeSet<usize>> = people.into_iter().map(|(_, rules)| rules).collect();
    if can_be_met(&people, &mut left) { Ok(()) } else { Err("not all who must have agreed") }
}

pub fn can_be_met(people: &[BTreeSet<usize>], left: &mut [u32]) -> bool {
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
