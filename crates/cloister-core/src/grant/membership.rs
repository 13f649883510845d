//! Who leaves a research namespace while a request waits, or a grant lasts.
//!
//! Nobody need be a member to ask: the policy says who may. So only somebody has left who was a member while the request
//! waited, which is written down at every look from the first on, and who is none now. Groups are those of the moment when
//! it was asked for.

use super::{Grant, approval::is_named};
use cloister_api::{GrantStatus, Identity, Member, MemberSubject, SubjectKind};

/// Why a request is denied, or a grant ends or says that it goes on, whose requester has left.
pub const REQUESTER_LEFT: &str = "RequesterLeft";

/// Writes down who of those whom a request concerns are members now. Who was one before stays written down.
pub fn note(status: &mut GrantStatus, grant: &Grant, members: &[Member]) {
    let Some(requester) = grant.terms().requested_by else { return };
    status.members.extend(concerned(grant, requester).filter(|name| is_member(name, requester, members)).cloned());
    status.members.sort_unstable();
    status.members.dedup();
}

/// Of those whom a grant concerns, those who were members while it was asked for, and are none any more, in words.
pub fn left(grant: &Grant, status: &GrantStatus, requester: &Identity, members: &[Member]) -> Option<String> {
    let concerned: Vec<&String> = concerned(grant, requester).collect();
    let was_member = status.members.iter().filter(|name| concerned.contains(name));
    let left: Vec<&str> = was_member.filter(|name| !is_member(name, requester, members)).map(String::as_str).collect();
    (!left.is_empty()).then(|| left.join(" and "))
}

/// Whoever asks, and the users who get it.
fn concerned<'a>(grant: &'a Grant, requester: &'a Identity) -> impl Iterator<Item = &'a String> {
    let users = grant.of_kind().subjects().iter().filter(|subject| subject.kind == SubjectKind::User);
    std::iter::once(&requester.username).chain(users.map(|subject| &subject.name))
}

fn is_member(name: &str, requester: &Identity, members: &[Member]) -> bool {
    let subjects = || members.iter().flat_map(|member| &member.subjects);
    let named = |subject: &MemberSubject| subject.kind == SubjectKind::User && subject.name == name;
    let asked = |subject: &MemberSubject| is_named(subject.kind, &subject.name, requester);
    subjects().any(named) || (name == requester.username && subjects().any(asked))
}
