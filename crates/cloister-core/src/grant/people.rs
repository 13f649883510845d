//! People and their accounts.

use cloister_api::{Identity, Principal, SubjectKind};
use std::collections::HashMap;

/// Whether two accounts are known to be one person's: the same user name, or the same uid or person key where there is
/// one. Two that have none are not one person.
pub fn same_person(one: &Identity, other: &Identity) -> bool {
    let same = |one: &str, other: &str| !one.is_empty() && one == other;
    one.username == other.username || same(&one.uid, &other.uid) || same(&one.person_key, &other.person_key)
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
        let keys = [("uid", &account.uid), ("personKey", &account.person_key)];
        let given = keys.into_iter().filter(|(_, key)| !key.is_empty()).chain([("username", &account.username)]);
        for (what, key) in given {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn account(username: &str, uid: &str, person_key: &str) -> Identity {
        Identity { username: username.into(), uid: uid.into(), person_key: person_key.into(), groups: Vec::new() }
    }

    #[test]
    fn empty_keys_tie_nobody_together() {
        assert!(!same_person(&account("a", "", ""), &account("b", "", "")));
        assert!(same_person(&account("a", "7", ""), &account("b", "7", "")));
        assert!(same_person(&account("a", "7", "p"), &account("b", "8", "p")));
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
