//! What a rule reaches, whichever kind declared it.

use crate::cluster::dns_service::in_words;
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

/// Where each of two rules leads to: with all that differs, where they look the same in short.
pub fn destinations(one: &EgressRule, other: &EgressRule) -> (String, String) {
    let (short, of_other) = (destination(one), destination(other));
    if short == of_other { (in_full(one), in_full(other)) } else { (short, of_other) }
}

/// Where a rule leads to, with all its destinations and ports, and for which pods.
fn in_full(rule: &EgressRule) -> String {
    let private = rule.private_endpoint.as_ref();
    let within = private.map(|private| format!(" in {}", private.expected_networks.join(", "))).unwrap_or_default();
    let pods = rule.pod_selector.as_ref().map(|pods| format!(" for pods ({})", in_words(pods))).unwrap_or_default();
    format!("{}{within}:{}{pods}", all(rule).join(", "), ports(&rule.ports, usize::MAX))
}

/// Where a rule leads to.
pub fn destination(rule: &EgressRule) -> String {
    let all = all(rule);
    let Some(first) = all.first() else { return String::new() };
    let first = if first.contains(':') { format!("[{first}]") } else { first.clone() };
    let more = if all.len() > 1 { format!("+{}", all.len() - 1) } else { String::new() };
    format!("{first}{more}:{}", ports(&rule.ports, PORTS))
}

/// All that a rule names.
fn all(rule: &EgressRule) -> Vec<String> {
    let listed = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let mut all = listed(&rule.domain_names);
    all.extend(listed(&rule.networks));
    all.extend(rule.service.as_ref().map(|service| format!("{}/{}", service.namespace, service.name)));
    all.extend(rule.private_endpoint.as_ref().map(|endpoint| endpoint.domain_name.clone()));
    all
}

fn ports(ports: &[Port], most: usize) -> String {
    let mut named: Vec<String> = ports
        .iter()
        .take(most)
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
    if ports.len() > most {
        named.push("...".to_owned());
    }
    named.join(",")
}
