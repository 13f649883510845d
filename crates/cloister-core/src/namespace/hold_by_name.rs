//! Whether an opening is held by names, where something sees what pods ask DNS for.

use super::Input;
use crate::{
    egress::{
        AllowRule, Backend, Channel, Peers, Surroundings, not_the_internet, not_to_be_reached, open_endpoint_in_part,
        open_rule_in_part,
    },
    model::{
        child::{Child, build::pods_of},
        writers::CONFIG_WRITERS,
    },
    policies::{cilium_policy, cluster_policy},
    proof::{objection::Agreements, objection_to_cilium, objection_to_cluster},
};
use cloister_api::Enforcement;

/// Reason of a name that is closed because what CloisterConfig wants to open it is not installed.
pub const BACKEND_MISSING: &str = "BackendMissing";

/// Reason of a name that is closed because what opens names cannot do so exactly.
pub const NOT_EXACT: &str = "NotExact";

/// How an opening is held.
pub enum How {
    /// By a policy for names.
    Names(Box<Child>, Enforcement),
    /// By addresses. A name that stands for others has none, and stays closed for this reason.
    Addresses(Option<String>),
    /// Not at all, for this reason.
    Closed(&'static str, String),
    /// Its policy would open more than was agreed to.
    Excess(String),
}

/// Decides how an opening is held. `others` is what else is open in the namespace by address.
pub fn hold(name: &str, opening: &AllowRule, agreed: &Agreements<'_>, others: &[AllowRule], input: &Input<'_>) -> How {
    let Peers::Hosts(hosts) = &opening.peers else { return How::Addresses(None) };
    if hosts.iter().any(|host| host.expected.is_some()) {
        return How::Addresses(None);
    }
    let settings = input.settings;
    match settings.backend {
        Backend::NetworkPolicy | Backend::ClusterNetworkPolicy(Channel::Standard) => How::Addresses(None),
        Backend::Missing(backend) => How::Closed(
            BACKEND_MISSING,
            format!(
                "egress.backend of CloisterConfig is {}, which is not installed, so nothing opens by name; ask a platform \
                 engineer to install it, or {CONFIG_WRITERS} to choose another backend",
                backend.as_str()
            ),
        ),
        Backend::ClusterNetworkPolicy(Channel::Experimental) => {
            // What is open by address is passed on before, so that none of it is denied here.
            let policy = cluster_policy::names(input.name, name, opening, &not_the_internet(&settings.never));
            match objection_to_cluster(&policy, input.name, agreed, &settings.never) {
                None => How::Names(Box::new(Child::ClusterNetworkPolicy(Box::new(policy))), Enforcement::DNSObserved),
                Some(excess) => How::Excess(excess),
            }
        }
        Backend::Cilium => match not_to_be_reached(opening, others, &settings.never) {
            Ok(denied) => {
                let policy = cilium_policy::policy(input.name, name, opening, &denied, &settings.spec, input.dns_ports);
                match objection_to_cilium(&policy, agreed, (&settings.spec, input.dns_ports), &settings.never) {
                    None => {
                        How::Names(Box::new(Child::CiliumNetworkPolicy(Box::new(policy))), Enforcement::DNSObserved)
                    }
                    Some(excess) => How::Excess(excess),
                }
            }
            Err(why) => {
                let wildcard = hosts.iter().find(|host| host.name.is_wildcard());
                How::Addresses(wildcard.map(|name| {
                    format!(
                        "{name} stays closed: {why}, and a wildcard has no addresses; give the rule a podSelector or ports \
                         that separate it, or name hosts"
                    )
                }))
            }
        },
    }
}

/// What the namespace's open grants open, at the addresses that their names have.
pub fn of_grants(input: &Input<'_>) -> Vec<AllowRule> {
    let surroundings = Surroundings { never: &input.settings.never, services: input.services, wildcards: false };
    let rules = input.granted.iter().map(|granted| open_rule_in_part(granted.rule, &surroundings));
    let endpoints = input.endpoints.iter().map(|(endpoint, account)| {
        let pods = account.map(pods_of);
        open_endpoint_in_part(endpoint, pods.as_ref(), &surroundings)
    });
    rules
        .chain(endpoints)
        .filter_map(|opened| opened.opening)
        .map(|opening| opening.at_addresses(&input.names()).0)
        .collect()
}

/// What leads to addresses whatever DNS says of a name on the Internet.
pub fn at_addresses(opening: AllowRule, input: &Input<'_>) -> Option<AllowRule> {
    let by_address = match &opening.peers {
        Peers::Networks(_) => true,
        Peers::Hosts(hosts) => hosts.iter().all(|host| host.expected.is_some()),
        Peers::Pods { .. } => false,
    };
    by_address.then(|| opening.at_addresses(&input.names()).0)
}
