//! What a rule reaches, whichever kind declared it.

use cloister_api::{EgressRule, Port, PrivateEndpoint, Protocol, ServiceReference, StorageEndpoint};

/// What a rule or a storage endpoint reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EgressTarget<'a> {
    /// Names.
    DomainNames(&'a [String]),
    /// Networks in CIDR notation.
    Networks(&'a [String]),
    /// A Service of this cluster.
    Service(&'a ServiceReference),
    /// A name that must resolve inside networks known beforehand.
    PrivateEndpoint(&'a PrivateEndpoint),
}

impl<'a> EgressTarget<'a> {
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
            domain_names.map(EgressTarget::DomainNames),
            networks.map(EgressTarget::Networks),
            service.map(EgressTarget::Service),
            private_endpoint.map(EgressTarget::PrivateEndpoint),
        ]
        .into_iter()
        .flatten();
        let first = named.next()?;
        named.next().is_none().then_some(first)
    }
}

/// How many ports are named.
const PORTS: usize = 3;

/// Where a rule leads to.
pub fn destination(rule: &EgressRule) -> String {
    let listed = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let mut all = listed(&rule.domain_names);
    all.extend(listed(&rule.networks));
    all.extend(rule.service.as_ref().map(|service| format!("{}/{}", service.namespace, service.name)));
    all.extend(rule.private_endpoint.as_ref().map(|endpoint| endpoint.domain_name.clone()));
    let Some(first) = all.first() else { return String::new() };
    let first = if first.contains(':') { format!("[{first}]") } else { first.clone() };
    let more = if all.len() > 1 { format!("+{}", all.len() - 1) } else { String::new() };
    format!("{first}{more}:{}", ports(&rule.ports))
}

fn ports(ports: &[Port]) -> String {
    let mut named: Vec<String> = ports
        .iter()
        .take(PORTS)
        .map(|port| {
            let end = port.end_port.map(|end| format!("-{end}")).unwrap_or_default();
            let protocol = if port.protocol == Protocol::default() {
                String::new()
            } else {
                format!("/{:?}", port.protocol).to_uppercase()
            };
            format!("{}{end}{protocol}", port.port)
        })
        .collect();
    if ports.len() > PORTS {
        named.push("...".to_owned());
    }
    named.join(",")
}
