//! Who leaves a research namespace while a grant lasts.
//!
//! Nobody need be a member to ask: the policy says who may. So only somebody has left who was a member when the grant was
//! approved, which is written down then, and who is none now. Groups are those of the moment when it was asked for.

use super::{Grant, approval::is_named};
use cloister_api::{GrantStatus, Identity, Member, MemberSubject, SubjectKind};

/// Why a grant ends, or says that it goes on, whose requester has left.
pub const REQUESTER_LEFT: &str = "RequesterLeft";

/// Of whoever asks and the users who get it, those who are members.
pub fn members(grant: &Grant, requester: &Identity, members: &[Member]) -> Vec<String> {
    let users = grant.of_kind().subjects().iter().filter(|subject| subject.kind == SubjectKind::User);
    let people = std::iter::once(&requester.username).chain(users.map(|subject| &subject.name));
    let mut found: Vec<String> = people.filter(|name| is_member(name, requester, members)).cloned().collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Those who were members when the grant was approved, and are none any more, in words.
pub fn left(status: &GrantStatus, requester: &Identity, members: &[Member]) -> Option<String> {
    let left: Vec<&str> =
        status.members.iter().filter(|name| !is_member(name, requester, members)).map(String::as_str).collect();
    (!left.is_empty()).then(|| left.join(" and "))
}

fn is_member(name: &str, requester: &Identity, members: &[Member]) -> bool {
    let subjects = || members.iter().flat_map(|member| &member.subjects);
    let named = |subject: &MemberSubject| subject.kind == SubjectKind::User && subject.name == name;
    let asked = |subject: &MemberSubject| is_named(subject.kind, &subject.name, requester);
    subjects().any(named) || (name == requester.username && subjects().any(asked))
}
