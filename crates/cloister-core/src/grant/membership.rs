//! Who leaves a research namespace while a request waits, or a grant lasts.
//!
//! Nobody need be a member to ask: the policy says who may. So only somebody has left who was a member while the request
//! waited, which is written down at every look from the first on, and who is none now. Groups are those of the moment when
//! it was asked for.

use super::{Grant, people::is_named};
use cloister_api::{GrantStatus, Identity, Member, MemberSubject, SubjectKind};
use std::borrow::Cow;

/// What the user names of ServiceAccounts begin with.
const ACCOUNT: &str = "system:serviceaccount:";

/// Why a request is denied, or a grant ends or says that it goes on, whose requester has left.
pub const REQUESTER_LEFT: &str = "RequesterLeft";

/// Writes down who of those whom a request concerns are members now. Who was one before stays written down.
pub fn note(status: &mut GrantStatus, grant: &Grant, members: &[Member]) {
    let Some(requester) = grant.terms().requested_by else { return };
    let namespace = namespace(grant);
    let now = concerned(grant, requester).filter(|name| is_member(name, requester, namespace, members));
    status.members.extend(now.map(Cow::into_owned));
    status.members.sort_unstable();
    status.members.dedup();
}

/// Of those whom a grant concerns, those who were members while it was asked for, and are none any more, in words.
pub fn left(grant: &Grant, status: &GrantStatus, requester: &Identity, members: &[Member]) -> Option<String> {
    let (namespace, concerned): (_, Vec<_>) = (namespace(grant), concerned(grant, requester).collect());
    let was_member = status.members.iter().filter(|name| concerned.iter().any(|one| one == *name));
    let left: Vec<String> = was_member
        .filter(|name| !is_member(name, requester, namespace, members))
        .map(|name| {
            account_of(name).map_or_else(|| name.clone(), |(home, name)| format!("ServiceAccount {home}/{name}"))
        })
        .collect();
    (!left.is_empty()).then(|| left.join(" and "))
}

fn namespace(grant: &Grant) -> &str {
    grant.metadata().namespace.as_deref().unwrap_or_default()
}

/// Whoever asks, and the users and ServiceAccounts that get it, by user name.
fn concerned<'a>(grant: &'a Grant, requester: &'a Identity) -> impl Iterator<Item = Cow<'a, str>> {
    let home = namespace(grant);
    let subjects = grant.of_kind().subjects().iter().filter_map(move |subject| match subject.kind {
        SubjectKind::User => Some(Cow::Borrowed(subject.name.as_str())),
        SubjectKind::ServiceAccount => Some(Cow::Owned(format!("{ACCOUNT}{home}:{}", subject.name))),
        SubjectKind::Group => None,
    });
    std::iter::once(Cow::Borrowed(requester.username.as_str())).chain(subjects)
}

fn is_member(name: &str, requester: &Identity, namespace: &str, members: &[Member]) -> bool {
    let covers = |subject: &MemberSubject| match subject.kind {
        SubjectKind::User => subject.name == name,
        SubjectKind::Group => name == requester.username && is_named(subject.kind, &subject.name, requester),
        SubjectKind::ServiceAccount => {
            account_of(name) == Some((subject.namespace.as_deref().unwrap_or(namespace), &subject.name))
        }
    };
    members.iter().flat_map(|member| &member.subjects).any(covers)
}

/// The namespace and the name of a ServiceAccount, by its user name.
fn account_of(username: &str) -> Option<(&str, &str)> {
    username.strip_prefix(ACCOUNT)?.split_once(':')
}
