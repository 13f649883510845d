//! What a rule reaches, whichever kind declared it.

use cloister_api::{EgressRule, PrivateEndpoint, ServiceReference, StorageEndpoint};

/// What a rule or a storage endpoint reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target<'a> {
    /// Names.
    DomainNames(&'a [String]),
    /// Networks in CIDR notation.
    Networks(&'a [String]),
    /// A Service of this cluster.
    Service(&'a ServiceReference),
    /// A name that must resolve inside networks known beforehand.
    PrivateEndpoint(&'a PrivateEndpoint),
}

impl<'a> Target<'a> {
    /// What the rule reaches; nothing unless it names exactly one kind of target.
    pub fn of_rule(rule: &'a EgressRule) -> Option<Self> {
        Self::exactly_one(
            rule.domain_names.as_deref(),
            rule.networks.as_deref(),
            rule.service.as_ref(),
            rule.private_endpoint.as_ref(),
        )
    }

    /// What the endpoint reaches; nothing unless it names exactly one kind of target.
    pub fn of_endpoint(endpoint: &'a StorageEndpoint) -> Option<Self> {
        Self::exactly_one(
            endpoint.domain_names.as_deref(),
            endpoint.networks.as_deref(),
            endpoint.service.as_ref(),
            endpoint.private_endpoint.as_ref(),
        )
    }

    fn exactly_one(
        domain_names: Option<&'a [String]>,
        networks: Option<&'a [String]>,
        service: Option<&'a ServiceReference>,
        private_endpoint: Option<&'a PrivateEndpoint>,
    ) -> Option<Self> {
        let mut named = [
            domain_names.map(Target::DomainNames),
            networks.map(Target::Networks),
            service.map(Target::Service),
            private_endpoint.map(Target::PrivateEndpoint),
        ]
        .into_iter()
        .flatten();
        let first = named.next()?;
        named.next().is_none().then_some(first)
    }
}
