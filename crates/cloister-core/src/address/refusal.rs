//! Why a rule stays closed.

use super::{
    cuts::CutBy,
    domain::{DomainName, NameFault},
    source::NeverWhy,
    writable::Pieces,
};
use cloister_api::ServiceReference;
use thiserror::Error;

/// Reason of a wildcard that addresses do not open.
pub(crate) const WILDCARD_NOT_ENFORCEABLE: &str = "WildcardNotEnforceable";

/// Names in words.
pub(crate) fn listed(names: &[DomainName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What a wildcard that is not opened does all the same.
const COVERS: &str =
    " (in an allowlist, the name covers egress.rules of the ResearchNamespace that name hosts below it)";

/// Why a rule stays closed. The message says what is wrong, with which object, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A name is none that can be asked for.
    #[error("{name} {fault}; correct the name")]
    NameInvalid {
        /// What was written, shortened where it is long.
        name: String,
        /// What is wrong with it.
        fault: NameFault,
    },
    /// A wildcard stands for names that nobody can list, and a NetworkPolicy holds addresses alone.
    #[error(
        "{} cannot be opened by addresses, because nobody can list the names that it stands for; name the hosts that are needed{}, \
         or use a network plugin that sees names (egress.backend of CloisterConfig)",
        listed(names),
        if *.of_storage { "" } else { COVERS }
    )]
    WildcardNotEnforceable {
        /// The wildcards, all of them.
        names: Vec<DomainName>,
        /// Whether any of them stands for names that anybody can have storage under, which no allowlist opens.
        of_storage: bool,
    },
    /// The rule names nothing to reach, or more than one kind of it.
    #[error(
        "exactly one of domainNames, networks, service and privateEndpoint must be named, with at least one entry; correct it"
    )]
    TargetInvalid,
    /// It is the API server.
    #[error("{what} is the API server of this cluster. No rule and no grant opens it to research pods; leave it out")]
    ApiServer {
        /// What was named: the Service, its addresses or its names, all of them.
        what: String,
    },
    /// There is no such Service.
    #[error(
        "Service {}/{} does not exist; ask the owner of namespace {} to create it (if there is such a namespace), or name \
         another one. If an earlier Service of that name was approved, the new one needs a new approval",
        .0.namespace, .0.name, .0.namespace
    )]
    ServiceNotFound(ServiceReference),
    /// No allowlist here names the Service, and it cannot be opened. Which Services others have, and how they are made, is not
    /// for whoever asks to learn.
    #[error(
        "no EgressAllowlist that this namespace may use names Service {}/{}, and it cannot be opened as the rule is written: \
         it does not exist, it does not have these ports, it has no selector, or it is of type ExternalName; this message does \
         not say which. Ask the owner of namespace {} for the name and the ports of the Service", .0.namespace, .0.name, .0.namespace
    )]
    ServiceNotNamed(ServiceReference),
    /// The Service is another than the one that the allowlist was published for.
    #[error(
        "Service {}/{} has changed since the allowlist was published (its uid, its selector or its target ports), so that it \
         leads elsewhere; ask a catalogue administrator to look at the Service and, if it is correct, to change the \
         spec of the allowlist, for example its description", .0.namespace, .0.name
    )]
    ServiceChanged(ServiceReference),
    /// The Service has no selector: whoever writes its endpoints decides where it leads.
    #[error("Service {}/{} has no selector, so its endpoints could be anywhere; give it one, or declare its addresses as networks", .0.namespace, .0.name)]
    ServiceWithoutSelector(ServiceReference),
    /// A pod of the Service is on the network of its node, where no policy knows it.
    #[error(
        "Service {}/{} selects {pod}, which is on the network of its node (hostNetwork), where a NetworkPolicy cannot select \
         it by labels; ask the owner of namespace {} to run it on the pod network, or to take it out of the Service",
        .service.namespace, .service.name, .service.namespace
    )]
    ServiceOnNodes {
        /// The Service.
        service: ServiceReference,
        /// The first such pod, by its name and its Node.
        pod: String,
    },
    /// The Service is of type ExternalName: it is but another name for a host.
    #[error("Service {}/{} is of type ExternalName and could lead anywhere; declare the addresses behind it as networks", .0.namespace, .0.name)]
    ServiceExternalName(ServiceReference),
    /// The Service has no such port.
    #[error("Service {}/{} has no port {ports}; name the Service's own ports, {has}, or ask the \
             owner of namespace {} to add the port", .service.namespace, .service.name, .service.namespace)]
    ServicePortNotFound {
        /// The Service.
        service: ServiceReference,
        /// The ports that it does not have, as `TCP/8080`.
        ports: String,
        /// Those that it has, in words.
        has: String,
    },
    /// Nothing is left of the networks.
    #[error("{networks} is never opened by address: {why}")]
    NetworksNeverOpened {
        /// The networks, all of them.
        networks: String,
        /// Where they are, and what to do.
        why: NeverWhy,
    },
    /// What is never opened cuts the networks into too many pieces for one policy.
    #[error(
        "with {networks} it comes to {pieces}, after the networks that are never opened are left out: name narrower \
         networks{made_by}"
    )]
    NetworksTooMany {
        /// The network, shortened where it is long.
        networks: String,
        /// What is left of the rule.
        pieces: Pieces,
        /// The Nodes whose networks are cut out of it.
        made_by: CutBy,
    },
    /// The networks are half of the Internet, or all of it.
    #[error(
        "{networks} is too wide, also for an EgressGrant: no network may be wider than /8 (IPv6: /16), where adjacent \
         networks count as one, and at most 16 networks may be wider than /16 (IPv6: /32); name the networks that are needed"
    )]
    NetworksTooWide {
        /// The networks, all of them.
        networks: String,
    },
    /// A network cannot be read.
    #[error("network \"{network}\" is invalid: {problem}; write it like 203.0.113.0/24 or 2001:db8::/32")]
    NetworkInvalid {
        /// What was written, shortened where it is long.
        network: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A port is none, or there are none.
    #[error(
        "the ports are invalid: {problem}; name at least one port from 1 to 65535, with an endPort not less than its port"
    )]
    PortsInvalid {
        /// What is wrong with them.
        problem: String,
    },
    /// The API server would refuse a NetworkPolicy with this selector.
    #[error("podSelector is invalid: {problem}; correct it")]
    PodSelectorInvalid {
        /// What is wrong with it.
        problem: String,
    },
}

impl Refusal {
    /// Whether it tells whether a Service is there, or how it is made.
    pub(crate) fn tells_of_a_service(&self) -> bool {
        matches!(
            self,
            Refusal::ServiceNotFound(_)
                | Refusal::ServiceChanged(_)
                | Refusal::ServiceWithoutSelector(_)
                | Refusal::ServiceOnNodes { .. }
                | Refusal::ServiceExternalName(_)
                | Refusal::ServicePortNotFound { .. }
        )
    }

    /// The reason in one word (CamelCase). It is part of the contract: tools match on it.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::NameInvalid { .. } => "NameInvalid",
            Refusal::WildcardNotEnforceable { .. } => WILDCARD_NOT_ENFORCEABLE,
            Refusal::TargetInvalid => "TargetInvalid",
            Refusal::ApiServer { .. } => "ApiServer",
            Refusal::ServiceOnNodes { .. } => "ServiceOnNodes",
            Refusal::ServiceNotFound(_) => "ServiceNotFound",
            Refusal::ServiceNotNamed(_) => "ServiceNotNamed",
            Refusal::ServiceChanged(_) => "ServiceChanged",
            Refusal::ServiceWithoutSelector(_) => "ServiceWithoutSelector",
            Refusal::ServiceExternalName(_) => "ServiceExternalName",
            Refusal::ServicePortNotFound { .. } => "ServicePortNotFound",
            Refusal::NetworksNeverOpened { .. } => "NetworksNeverOpened",
            Refusal::NetworksTooMany { .. } => "NetworksTooMany",
            Refusal::NetworksTooWide { .. } => "NetworksTooWide",
            Refusal::NetworkInvalid { .. } => "NetworkInvalid",
            Refusal::PortsInvalid { .. } => "PortsInvalid",
            Refusal::PodSelectorInvalid { .. } => "PodSelectorInvalid",
        }
    }
}
