//! The Nodes whose networks are cut out of what a rule names: who reads that it comes to too many must know what made them.

use crate::model::text::first_of;
use std::{collections::BTreeSet, fmt, sync::Arc};

/// How many Nodes are named.
const NAMED: usize = 2;

/// The Nodes whose networks are cut out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CutBy(pub(crate) BTreeSet<Arc<str>>);

impl fmt::Display for CutBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = match self.0.len() {
            0 => return Ok(()),
            1 => "Node",
            _ => "Nodes",
        };
        write!(
            f,
            ". The addresses and podCIDRs of {nodes} {} are cut out of it: if they are wrong, ask the platform engineers",
            first_of(&self.0, NAMED, ", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        address::{never::NeverOpened, source::Source},
        egress::{Surroundings, open_rule},
    };
    use ipnet::IpNet;
    use serde_json::json;
    use std::net::IpAddr;

    /// Who reads it learns by which bound, by whose networks, and whom to ask.
    #[test]
    fn what_comes_to_too_many_names_the_bound_and_the_nodes() {
        let said = |network: &str, known: Vec<(IpNet, Source)>| {
            let never = NeverOpened::of(known);
            let surroundings = Surroundings { never: &never, services: &|_| None, wildcards: true };
            let rule = json!({"name": "r", "ports": [{"port": 443}], "networks": [network]});
            open_rule(&serde_json::from_value(rule).unwrap(), &surroundings).unwrap_err().to_string()
        };
        let of_nodes = |nodes: u32| {
            let address = |at: u32| IpNet::from(IpAddr::from((0x1400_0001_u32 + at * 800).to_be_bytes()));
            (0..21_000)
                .map(|at| (address(at), Source::NodeAddress(format!("w{}", at % nodes).into())))
                .collect::<Vec<_>>()
        };
        let narrower = ", after the networks that are never opened are left out: name narrower networks";
        let ask = "are cut out of it: if they are wrong, ask the platform engineers";
        for (nodes, named) in [(1, "Node w0"), (2, "Nodes w0, w1"), (9, "Nodes w0, w1 and 7 more")] {
            let said = said("20.0.0.0/8", of_nodes(nodes));
            let (before, after) = said.split_once(narrower).unwrap();
            assert!(before.starts_with("with 20.0.0.0/8 it comes to "), "{before}");
            assert!(before.ends_with(" networks, of which it may open 500"), "{before}");
            assert_eq!(after, format!(". The addresses and podCIDRs of {named} {ask}"));
        }
        let wide = said("fd00::/16", Vec::new());
        let wanted = format!(" networks wider than /16 (IPv6: /32), of which it may open 16{narrower}");
        assert!(wide.ends_with(&wanted), "{wide}");
    }
}
