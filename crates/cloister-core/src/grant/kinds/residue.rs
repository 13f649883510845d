//! What may outlast a grant, because Kubernetes cannot take it back, and for how long.

use crate::{
    cluster::settings::Settings,
    grant::Input,
    model::{condition::seconds, durations::later},
};
use cloister_api::{GrantStatus, ResidualExposure};
use jiff::{SignedDuration, Timestamp};

/// How long the kubelet may take to empty the files of a credential in a running pod: a minute at its defaults, and what
/// it needs to notice.
const FILES: SignedDuration = SignedDuration::from_secs(90);

/// What may outlast a binding to a ClusterRole.
pub fn of_role(cluster_role: Option<&str>, input: &Input<'_>) -> Vec<ResidualExposure> {
    let facts = cluster_role.and_then(|name| (input.catalogue.cluster_roles)(name));
    facts.map(|facts| facts.lingering.clone()).unwrap_or_default()
}

/// How long something may last after the end, where there is an end to it.
fn lasts(what: ResidualExposure, settings: &Settings) -> Option<SignedDuration> {
    let limits = &settings.residual;
    match what {
        ResidualExposure::Watches => Some(limits.watches),
        ResidualExposure::Sessions => Some(limits.sessions),
        ResidualExposure::MountedFiles => Some(FILES),
        ResidualExposure::CredentialRead | ResidualExposure::Connections => None,
    }
}

/// What it is, in words, and what to do about it.
fn in_words(what: ResidualExposure) -> &'static str {
    match what {
        ResidualExposure::Watches => "watches that were opened while it was active",
        ResidualExposure::Sessions => {
            "sessions in pods (exec, attach, port-forward, proxy), which continue as long as they are used: delete the pods"
        }
        ResidualExposure::MountedFiles => "the files in pods that keep running",
        ResidualExposure::CredentialRead => "what a process has read of the credential: rotate it at its source",
        ResidualExposure::Connections => "open connections, if the network plugin does not close them: delete the pods",
    }
}

/// Writes down, at the end of a grant, until when it may be used all the same, and says by what.
pub fn note(status: &mut GrantStatus, settings: &Settings, now: Timestamp) -> Option<String> {
    if status.residual_exposure.is_empty() {
        return None;
    }
    let until = status.residual_exposure.iter().filter_map(|what| lasts(*what, settings)).max();
    let until = until.map(|lasts| seconds(later(now, lasts)));
    let left: Vec<&str> = status.residual_exposure.iter().map(|what| in_words(*what)).collect();
    let when = until.as_ref().map(|until| format!(", some of it until {}", until.0)).unwrap_or_default();
    status.residual_exposure_until = until;
    Some(format!("this may outlast the grant{when}: {}", left.join("; ")))
}
