//! What the Secret of a credential says of itself, where it is kept: who publishes the catalogue cannot make it weaker.

use super::sensitivity::Sensitive;
use crate::{
    cluster::guard::{Guard, listed},
    model::{
        shell::command,
        text::{first_of, shown},
    },
};
use cloister_api::{SecretReference, Sensitivity, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest, Sha256};

/// The version of a Secret's content: the same as long as the content is, whatever else of the Secret is touched. `None` where
/// there is none, in no key.
///
/// It is written on GrantMounts, where tenants read it. So that nobody can try out guesses at the content, it is a hash under
/// the Secret's uid, which is random, and known to nobody who may not read the Secret anyway.
pub fn version<'a>(uid: &str, content: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Option<Box<str>> {
    let mut entries: Vec<(&str, &[u8])> = content.into_iter().collect();
    entries.sort_unstable();
    if entries.iter().all(|(_, value)| value.is_empty()) {
        return None;
    }
    let mut hash = Sha256::new();
    for part in std::iter::once(uid.as_bytes()).chain(entries.iter().flat_map(|(key, value)| [key.as_bytes(), value])) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Some(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>().into())
}

/// How many entries that are no names are told.
const NAMED: usize = 4;

/// Reason of a credential that is kept in a namespace from which none is read.
pub const CREDENTIAL_NAMESPACE_NOT_ALLOWED: &str = "CredentialNamespaceNotAllowed";

/// Reason of a credential that its Secret does not offer to the storage that names it.
pub const NOT_OFFERED: &str = "CredentialNotOffered";

/// What is known of the Secret of a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialFacts {
    /// A version that is the same as long as the content is; `None` where there is no content.
    pub content: Option<Box<str>>,
    /// The StorageResources that may hand it out, as its annotation says; `None` where it says nothing.
    pub offered: Option<Vec<Box<str>>>,
    /// How sensitive it is at least: as its annotation says, and as the most sensitive StorageResource does that names it.
    pub sensitivity: Option<Sensitivity>,
    /// The StorageResource that makes it so sensitive, where one does.
    pub named_by: Option<Box<str>>,
    /// Who may decide about it, as its annotations say.
    pub guard: Guard,
}

impl CredentialFacts {
    /// What the annotations of a Secret say.
    pub fn of(secret: &ObjectMeta, content: Option<Box<str>>) -> Self {
        let offered = secret.annotations.as_ref().and_then(|all| all.get(labels::STORAGE_RESOURCES));
        let guard = Guard::of(secret, &labels::OF_CREDENTIALS);
        let offered = offered.map(|names| listed(names));
        CredentialFacts { content, offered, sensitivity: guard.sensitivity, named_by: None, guard }
    }

    /// The same where a StorageResource of this sensitivity names it, too.
    pub fn named_by(&mut self, storage: &str, sensitivity: Sensitivity) {
        if self.sensitivity.is_none_or(|known| known < sensitivity) {
            self.sensitivity = Some(sensitivity);
            self.named_by = Some(storage.into());
        }
    }

    /// How sensitive it is at least, and what says so.
    pub fn says(&self, at: &SecretReference) -> Option<Sensitive> {
        let by = match &self.named_by {
            Some(storage) => format!("StorageResource {storage}, which names the same Secret,"),
            None => secret_named(at),
        };
        self.sensitivity.map(|sensitivity| Sensitive { sensitivity, by })
    }

    /// Why the Secret is not for this storage, if it is not.
    pub fn not_offered(&self, at: &SecretReference, storage: &str) -> Option<String> {
        let (namespace, name) = (&at.namespace, &at.name);
        if let Some(fault) = self.guard.unreadable(&secret_named(at)) {
            return Some(fault);
        }
        let offered = self.offered.as_deref().unwrap_or_default();
        if offered.iter().any(|offered| **offered == *storage) {
            return None;
        }
        let (names, others): (Vec<&str>, Vec<&str>) =
            offered.iter().map(|name| &**name).partition(|name| is_name(name));
        let left_out = if others.is_empty() {
            String::new()
        } else {
            let others = others.iter().map(|other| format!("{:?}", shown(other)));
            format!(", which leaves out invalid names ({})", first_of(others, NAMED, ", "))
        };
        let all: Vec<&str> = names.into_iter().chain([storage]).collect();
        let annotation = format!("{}={}", labels::STORAGE_RESOURCES, all.join(","));
        let how = command(["kubectl", "annotate", "--overwrite", "secret", name, "-n", namespace, &annotation]);
        Some(format!(
            "Secret {name} in {namespace} does not allow StorageResource {storage} to use it; the owner of the Secret allows \
             that{left_out} with: {how} (this is `Forbidden` if you cannot read the Secret: then write only this annotation \
             with kubectl apply --server-side --force-conflicts --field-manager=offers)"
        ))
    }
}

/// Whether a StorageResource can have this name.
fn is_name(name: &str) -> bool {
    name.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || matches!(one, '-' | '.'))
}

/// A Secret, to begin a sentence with.
pub fn secret_named(at: &SecretReference) -> String {
    format!("Secret {} in {}", at.name, at.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_known_by_its_content() {
        let of = |uid: &str, content: &[(&str, &str)]| {
            version(uid, content.iter().map(|(key, value)| (*key, value.as_bytes())))
        };
        let first = of("u1", &[("a", "1"), ("b", "2")]);
        assert!(first.is_some());
        assert_eq!(of("u1", &[("b", "2"), ("a", "1")]), first, "the order of the keys means nothing");
        for other in
            [&[("a", "1")][..], &[("a", "1"), ("b", "3")], &[("a", "1b"), ("", "2")], &[("ab", "1"), ("b", "2")]]
        {
            assert_ne!(of("u1", other), first, "{other:?}");
        }
        assert_ne!(of("u2", &[("a", "1"), ("b", "2")]), first, "a guess cannot be tried out without the uid");
        for empty in [&[][..], &[("a", "")], &[("a", ""), ("b", "")]] {
            assert_eq!(of("u1", empty), None, "{empty:?}: emptied is missing");
        }
    }

    #[test]
    fn the_most_sensitive_counts() {
        let facts = |said: Option<&'static str>| {
            let said = said.map(|said| (labels::MINIMUM_SENSITIVITY.to_owned(), said.to_owned()));
            CredentialFacts::of(
                &ObjectMeta { annotations: Some(said.into_iter().collect()), ..ObjectMeta::default() },
                None,
            )
        };
        let mut both = facts(Some("High"));
        both.named_by("low", Sensitivity::Low);
        assert_eq!((both.sensitivity, both.named_by.clone()), (Some(Sensitivity::High), None));
        both.named_by("weights", Sensitivity::Critical);
        assert_eq!((both.sensitivity, both.named_by.as_deref()), (Some(Sensitivity::Critical), Some("weights")));
        let mut none = facts(None);
        none.named_by("low", Sensitivity::Low);
        assert_eq!(none.sensitivity, Some(Sensitivity::Low));
    }
}
