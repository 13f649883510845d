//! What can go wrong, each with a category for the metrics.

use kube::core::Status;
use std::{sync::Arc, time::Duration};

/// What went wrong with a request to the API server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused a request, or could not be reached.
    #[error("could not {what}: {}", said(source))]
    Request {
        /// What was tried, and with which object.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("could not {what}: no answer within {limit:?}")]
    Timeout {
        /// What was tried, and with which object.
        what: String,
        /// How long was waited.
        limit: Duration,
    },
    /// This operator does not hold the Lease by which one acts at a time.
    #[error("did not {what}: the Lease could not be renewed in time, so another operator may be the leader by now")]
    NotLeading {
        /// What was to be done, and with which object.
        what: String,
    },
    /// An object that was deleted is still there, because somebody else's finalizer holds it.
    #[error("{what} is being deleted, but the finalizer of another tool holds it; remove that finalizer")]
    NotGone {
        /// The object.
        what: String,
    },
    /// An object is not as it was written.
    #[error(
        "{what} differs from what the operator wrote: something changes it on its way, and the operator writes it again; check \
         whether a mutating admission policy or webhook of the cluster changes it: kubectl get \
         mutatingadmissionpolicies,mutatingwebhookconfigurations"
    )]
    NotAsWritten {
        /// The object.
        what: String,
    },
    /// Pods hold a credential that was taken away, and that was not known. They are now.
    #[error("pods of {namespace} still hold {secret}: {}; they are deleted", pods.join(", "))]
    StillHeld {
        /// The namespace.
        namespace: String,
        /// The copy of the credential.
        secret: String,
        /// Some of the pods.
        pods: Vec<String>,
    },
    /// The pods that may hold a credential cannot be looked at.
    #[error("cannot confirm that no pod of {namespace} holds {secret}: {source}")]
    Unseen {
        /// The namespace.
        namespace: String,
        /// The copy of the credential.
        secret: String,
        /// Why.
        #[source]
        source: Arc<Error>,
    },
    /// The GrantMount that a copy is for is not there any more.
    #[error("GrantMount {namespace}/{name} does not exist, so nothing would record a copy of its credential")]
    MountGone {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A credential is not where it was a moment ago.
    #[error("Secret {namespace}/{name} no longer holds a credential")]
    CredentialGone {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// Whether an object has grown too large for the API server, or for etcd, whose refusal comes as an internal error.
fn is_too_large(status: &Status) -> bool {
    let by_etcd = ["etcdserver: request is too large", "trying to send message larger than max"];
    status.code == 413 || by_etcd.iter().any(|said| status.message.contains(said))
}

/// Whether what a JSON patch tests is otherwise by now. The API server says no more about it than this.
fn is_test_failed(status: &Status) -> bool {
    status.code == 422 && status.message == "the server rejected our request due to an error in our request"
}

/// What the API server said, without the rest of its answer.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => error.to_string(),
    }
}

impl cloister_core::model::carry_out::Failure for Error {
    fn is_final(&self) -> bool {
        Error::is_final(self)
    }
}

impl Error {
    /// The category, as the metrics have it.
    pub fn category(&self) -> &'static str {
        match self {
            Error::Request { source, .. } => match &**source {
                kube::Error::Api(status) if status.is_already_exists() => "already_exists",
                kube::Error::Api(status) if status.is_conflict() => "conflict",
                kube::Error::Api(status) if status.is_forbidden() => "forbidden",
                kube::Error::Api(status) if status.is_not_found() => "not_found",
                kube::Error::Api(status) if is_test_failed(status) => "conflict",
                kube::Error::Api(status) if status.code == 422 => "invalid",
                kube::Error::Api(status) if is_too_large(status) => "too_large",
                kube::Error::Api(_) => "server",
                _ => "transport",
            },
            Error::Timeout { .. } => "timeout",
            Error::NotLeading { .. } => "not_leading",
            Error::NotGone { .. } => "not_gone",
            Error::NotAsWritten { .. } => "not_as_written",
            Error::CredentialGone { .. } => "credential_gone",
            Error::MountGone { .. } => "mount_gone",
            Error::StillHeld { .. } => "still_held",
            Error::Unseen { .. } => "unseen",
        }
    }

    /// Whether the same request is refused again until somebody changes something: what it asks for is invalid, or an
    /// admission policy, a quota or the lack of a right stands against it.
    pub fn is_final(&self) -> bool {
        match self {
            Error::Request { source, .. } => match &**source {
                kube::Error::Api(status) => {
                    matches!(status.code, 400 | 403 | 422) && !is_test_failed(status) || is_too_large(status)
                }
                _ => false,
            },
            Error::Unseen { source, .. } => source.is_final(),
            _ => false,
        }
    }

    /// Whether the API server, or the way to it, is at fault for now: what is tried again soon may succeed, whatever it is.
    pub fn is_outage(&self) -> bool {
        match self {
            Error::Request { source, .. } => match &**source {
                kube::Error::Api(status) => (status.code >= 500 || status.code == 429) && !is_too_large(status),
                _ => true,
            },
            Error::Timeout { .. } | Error::NotLeading { .. } => true,
            Error::Unseen { source, .. } => source.is_outage(),
            _ => false,
        }
    }

    /// Whether the object was changed by somebody else meanwhile, so that the next look will do.
    pub fn is_conflict(&self) -> bool {
        matches!(self.category(), "conflict" | "not_found" | "still_held" | "mount_gone")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::response::StatusDetails;

    fn refused(code: u16, reason: &str) -> Error {
        let status =
            Status { code, reason: reason.into(), details: None::<StatusDetails>, ..Status::failure("", reason) };
        Error::Request { what: "try".into(), source: Box::new(kube::Error::Api(Box::new(status))) }
    }

    /// Both are answered with 409, and only one of them means that somebody else was faster.
    #[test]
    fn an_object_that_is_there_already_is_no_conflict() {
        assert_eq!(refused(409, "AlreadyExists").category(), "already_exists");
        assert!(!refused(409, "AlreadyExists").is_conflict());
        assert_eq!(refused(409, "Conflict").category(), "conflict");
    }

    #[test]
    fn an_object_that_is_not_as_a_patch_tests_it_was_changed_by_somebody_else() {
        let said = |message: &str| {
            let status = Status { code: 422, message: message.into(), ..Status::default() };
            Error::Request { what: String::new(), source: Box::new(kube::Error::Api(Box::new(status))) }
        };
        let otherwise = said("the server rejected our request due to an error in our request");
        assert!(otherwise.is_conflict() && !otherwise.is_final());
        let invalid = said("RoleGrant.cloister.dev \"run\" is invalid: status.phase: Unsupported value: \"Open\"");
        assert!(!invalid.is_conflict() && invalid.is_final());
    }

    /// As etcd refuses it, which the API server passes on as its own failure. It is refused until the object is smaller.
    #[test]
    fn an_object_that_is_too_large_is_refused_for_good() {
        let said = |message: &str| Error::Request {
            what: String::new(),
            source: Box::new(kube::Error::Api(Box::new(Status {
                code: 500,
                message: message.into(),
                ..Status::default()
            }))),
        };
        for message in
            ["etcdserver: request is too large", "rpc error: trying to send message larger than max (3 vs. 2)"]
        {
            let error = said(message);
            assert!(error.is_final() && !error.is_outage() && error.category() == "too_large", "{message}");
        }
        assert!(said("etcdserver: leader changed").is_outage() && !said("etcdserver: leader changed").is_final());
        assert!(refused(413, "RequestEntityTooLarge").is_final());
    }

    #[test]
    fn an_outage_is_nothing_that_is_refused() {
        let of = |source| Error::Request { what: String::new(), source: Box::new(source) };
        let said = |code| of(kube::Error::Api(Box::new(Status { code, ..Status::default() })));
        for code in [429, 500, 502, 503, 504] {
            assert!(said(code).is_outage(), "{code}");
        }
        for code in [400, 403, 404, 409, 410, 413, 422] {
            assert!(!said(code).is_outage(), "{code}");
        }
        assert!(of(kube::Error::Service("no answer".into())).is_outage());
        let limit = Duration::from_secs(1);
        assert!(Error::Timeout { what: String::new(), limit }.is_outage());
        assert!(Error::NotLeading { what: String::new() }.is_outage());
        assert!(!Error::NotGone { what: String::new() }.is_outage());
    }
}
