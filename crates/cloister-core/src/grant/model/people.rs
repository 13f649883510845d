//! People and their accounts.

use crate::{address::label::is_dns_subdomain, cluster::settings::Settings};
use cloister_api::{Identity, Principal, Subject, SubjectKind};
use std::collections::HashMap;

/// What the user names of ServiceAccounts begin with.
const ACCOUNT: &str = "system:serviceaccount:";

/// The group of all ServiceAccounts; with `:` and a namespace, that of the ServiceAccounts there.
const ACCOUNTS: &str = "system:serviceaccounts";

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
    identity.username.starts_with(ACCOUNT)
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
            identity.username == format!("{ACCOUNT}{namespace}:{}", principal.name)
        }
    }
}

/// Why a principal means no account at all, if it means none, and what to write instead.
pub fn matches_nobody(principal: &Principal) -> Option<String> {
    let name = principal.name.as_str();
    let account =
        |namespace: &str, name: &str| format!("{{kind: ServiceAccount, namespace: {namespace}, name: {name}}}");
    match principal.kind {
        SubjectKind::ServiceAccount => {
            let namespace = principal.namespace.as_deref().filter(|namespace| !namespace.is_empty());
            let why = match namespace {
                None => format!("ServiceAccount {name} has no namespace"),
                Some(_) if is_dns_subdomain(name) => return None,
                Some(namespace) => format!("{name} is not the name of a ServiceAccount of {namespace}"),
            };
            let (home, own) = account_in(name).unwrap_or_else(|| match is_dns_subdomain(name) {
                true => ("NAMESPACE", name),
                false => (namespace.unwrap_or("NAMESPACE"), "NAME"),
            });
            Some(format!("{why}, so it matches nobody; write {}", account(home, own)))
        }
        SubjectKind::User => {
            let (home, own) = name.strip_prefix(ACCOUNT)?.split_once(':').unwrap_or(("NAMESPACE", "NAME"));
            Some(format!("{name} is not a User, so it matches nobody; write {}", account(home, own)))
        }
        SubjectKind::Group => {
            let home = name.strip_prefix(ACCOUNTS)?;
            let home = if home.is_empty() { "NAMESPACE" } else { home.strip_prefix(':')? };
            Some(format!(
                "{name} is a group of ServiceAccounts, and matches none of them; write {} for each",
                account(home, "NAME")
            ))
        }
    }
}

/// The namespace and the name that somebody meant who wrote both into a name.
fn account_in(name: &str) -> Option<(&str, &str)> {
    let written = name.strip_prefix(ACCOUNT).map_or_else(|| name.split_once('/'), |both| both.split_once(':'))?;
    [written.0, written.1].into_iter().all(is_dns_subdomain).then_some(written)
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
    fn a_principal_that_means_nobody_is_told_what_to_write() {
        let of = |kind, namespace: Option<&str>, name: &str| Principal {
            kind,
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
        };
        let flux = "write {kind: ServiceAccount, namespace: flux-system, name: flux}";
        let bot = SubjectKind::ServiceAccount;
        for (principal, why, write) in [
            (
                of(bot, Some("flux-system"), "system:serviceaccount:flux-system:flux"),
                "system:serviceaccount:flux-system:flux is not the name of a ServiceAccount of flux-system, so it matches nobody",
                flux,
            ),
            (
                of(bot, Some("ci"), "flux-system/flux"),
                "flux-system/flux is not the name of a ServiceAccount of ci, so it matches nobody",
                flux,
            ),
            (
                of(bot, Some("ci"), "a..b"),
                "a..b is not the name of a ServiceAccount of ci, so it matches nobody",
                "write {kind: ServiceAccount, namespace: ci, name: NAME}",
            ),
            (
                of(bot, None, "flux"),
                "ServiceAccount flux has no namespace, so it matches nobody",
                "write {kind: ServiceAccount, namespace: NAMESPACE, name: flux}",
            ),
            (
                of(SubjectKind::User, None, "system:serviceaccount:flux-system:flux"),
                "system:serviceaccount:flux-system:flux is not a User, so it matches nobody",
                flux,
            ),
            (
                of(SubjectKind::Group, None, "system:serviceaccounts:ci"),
                "system:serviceaccounts:ci is a group of ServiceAccounts, and matches none of them",
                "write {kind: ServiceAccount, namespace: ci, name: NAME} for each",
            ),
        ] {
            assert_eq!(matches_nobody(&principal), Some(format!("{why}; {write}")));
            let groups = vec!["system:serviceaccounts:ci".to_owned(), "system:serviceaccounts".to_owned()];
            for username in ["system:serviceaccount:flux-system:flux", "system:serviceaccount:ci:flux"] {
                let identity = Identity { groups: groups.clone(), ..account(username, "", "") };
                assert!(!is(&principal, &identity), "{principal:?} is {username}");
            }
        }
        for somebody in [
            of(bot, Some("ci"), "bot.v2"),
            of(SubjectKind::User, None, "alice"),
            of(SubjectKind::Group, None, "system:authenticated"),
            of(SubjectKind::Group, None, "system:serviceaccounts-team"),
        ] {
            assert_eq!(matches_nobody(&somebody), None, "{somebody:?}");
        }
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
