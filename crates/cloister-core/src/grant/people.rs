//! People and their accounts.

use crate::settings::Settings;
use cloister_api::{Identity, Principal, Subject, SubjectKind};
use std::collections::HashMap;

/// Whether two accounts are known to be one person's: the same user name, or the same uid or one of the same person keys
/// where there are some. Two that have none are not one person.
pub fn same_person(one: &Identity, other: &Identity) -> bool {
    one.username == other.username
        || (!one.uid.is_empty() && one.uid == other.uid)
        || one.persons().any(|key| other.persons().any(|other| other == key))
}

/// Whether it is said which person's an account is, where the settings ask for that. A ServiceAccount is nobody's: nobody is
/// taken for somebody else by it.
pub fn is_known(identity: &Identity, settings: &Settings) -> bool {
    settings.spec.person_key.is_empty() || is_service_account(identity) || identity.persons().next().is_some()
}

/// Whether somebody is a ServiceAccount.
pub fn is_service_account(identity: &Identity) -> bool {
    identity.username.starts_with("system:serviceaccount:")
}

/// Whether a principal means this account.
pub fn is(principal: &Principal, identity: &Identity) -> bool {
    // A ServiceAccount is meant only where it is named itself: its groups hold every account of a namespace, or of all.
    let account = is_service_account(identity);
    match principal.kind {
        SubjectKind::User => !account && principal.name == identity.username,
        SubjectKind::Group => !account && identity.groups.contains(&principal.name),
        SubjectKind::ServiceAccount => {
            let namespace = principal.namespace.as_deref().unwrap_or_default();
            identity.username == format!("system:serviceaccount:{namespace}:{}", principal.name)
        }
    }
}

/// Which accounts are one person's, over any number of steps: for each, the number of its person, which is the position
/// of their first account. A union-find over what each account is known by.
pub fn persons(accounts: &[&Identity]) -> Vec<usize> {
    let mut parent: Vec<usize> = (0..accounts.len()).collect();
    let mut known: HashMap<(&str, &str), usize> = HashMap::new();
    for (at, account) in accounts.iter().enumerate() {
        let uid = Some(("uid", account.uid.as_str())).filter(|(_, uid)| !uid.is_empty());
        let keys = account.persons().map(|key| ("personKey", key));
        for (what, key) in uid.into_iter().chain(keys).chain([("username", account.username.as_str())]) {
            let other = *known.entry((what, key)).or_insert(at);
            let (one, other) = (root(&mut parent, at), root(&mut parent, other));
            parent[one.max(other)] = one.min(other);
        }
    }
    (0..accounts.len()).map(|at| root(&mut parent, at)).collect()
}

fn root(parent: &mut [usize], mut at: usize) -> usize {
    while parent[at] != at {
        parent[at] = parent[parent[at]];
        at = parent[at];
    }
    at
}

pub fn means(subject: &Subject, identity: &Identity) -> bool {
    is_named(subject.kind, &subject.name, identity)
}

/// Whether a user or a group of this name is, or holds, this person.
pub fn is_named(kind: SubjectKind, name: &String, identity: &Identity) -> bool {
    match kind {
        SubjectKind::User => *name == identity.username,
        SubjectKind::Group => identity.groups.contains(name),
        SubjectKind::ServiceAccount => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(username: &str, uid: &str, person_key: &str) -> Identity {
        Identity { username: username.into(), uid: uid.into(), person_key: person_key.into(), ..Identity::default() }
    }

    #[test]
    fn empty_keys_tie_nobody_together() {
        assert!(!same_person(&account("a", "", ""), &account("b", "", "")));
        assert!(same_person(&account("a", "7", ""), &account("b", "7", "")));
        assert!(same_person(&account("a", "7", "p"), &account("b", "8", "p")));
    }

    #[test]
    fn every_value_of_the_key_counts() {
        let several = |name: &str, keys: &[&str]| Identity {
            person_keys: keys.iter().map(|&key| key.to_owned()).collect(),
            ..account(name, "", keys[0])
        };
        let (alice, admin) = (account("alice", "", "E123"), several("Alice@Example.com", &["E999", "E123"]));
        assert!(same_person(&alice, &admin) && same_person(&admin, &alice));
        assert!(!same_person(&alice, &several("sam", &["E999", "E998"])));
        let third = several("third", &["E997", "E999"]);
        assert_eq!(persons(&[&alice, &third, &admin]), [0, 0, 0]);
    }

    #[test]
    fn a_person_is_found_over_several_accounts() {
        let all = [account("a", "1", ""), account("c", "", "k"), account("d", "9", ""), account("b", "1", "k")];
        assert_eq!(persons(&all.iter().collect::<Vec<_>>()), [0, 0, 2, 0]);
        // A user name that is somebody's uid ties nobody.
        let all = [account("a", "b", ""), account("b", "", ""), account("a", "", "b")];
        assert_eq!(persons(&all.iter().collect::<Vec<_>>()), [0, 1, 0]);
    }
}
