//! Connections, and an evaluator of rules and NetworkPolicies that shares no code with the library.

use cloister_api::{EgressRule, Port, Protocol, ServiceReference};
use cloister_core::{
    address::{NeverOpened, PolicyPortNumber},
    dns::{Answer, Held, Host, KnownName, Limits, Names, Outcome, Where},
    egress::{AllowRule, ServiceFacts, ServicePortFacts},
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::IpAddr};

pub type Labels = BTreeMap<String, String>;

/// One connection that a pod with these labels tries.
#[derive(Clone, Debug)]
pub struct Probe {
    pub from: Labels,
    pub to: Destination,
    pub protocol: &'static str,
    pub port: u16,
}

#[derive(Clone, Debug)]
pub enum Destination {
    Address(IpAddr),
    Pod { namespace: &'static str, labels: Labels },
}

impl Probe {
    pub fn address(&self) -> Option<IpAddr> {
        match self.to {
            Destination::Address(address) => Some(address),
            Destination::Pod { .. } => None,
        }
    }
}

/// The pods of every Service call this port `web`.
const WEB: u16 = 6;

pub fn labels() -> impl Strategy<Value = Labels> {
    (prop::sample::select(vec!["", "a", "b", "c"]), prop::sample::select(vec!["", "x", "y"])).prop_map(|(app, tier)| {
        let both = [("app", app), ("tier", tier)].into_iter().filter(|(_, value)| !value.is_empty());
        both.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    })
}

pub fn probe() -> impl Strategy<Value = Probe> {
    let address = prop_oneof![
        6 => (0..16_u8).prop_map(|last| IpAddr::from([10, 0, 0, last])),
        4 => prop::sample::select(DNS.iter().flat_map(|(_, all)| all.iter()).collect::<Vec<_>>())
            .prop_map(|address| address.parse().unwrap()),
        2 => (0..8_u16).prop_map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last])),
        1 => prop::sample::select(vec!["169.254.169.254", "169.253.255.255", "127.0.0.1", "fd00:ec2::254", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe"])
            .prop_map(|address| address.parse().unwrap()),
    ];
    let destination = prop_oneof![
        2 => address.prop_map(Destination::Address),
        1 => (prop::sample::select(vec!["infra", "other"]), labels())
            .prop_map(|(namespace, labels)| Destination::Pod { namespace, labels }),
    ];
    (labels(), destination, prop::sample::select(vec!["TCP", "UDP", "SCTP"]), 1..12_u16)
        .prop_map(|(from, to, protocol, port)| Probe { from, to, protocol, port })
}

fn network() -> impl Strategy<Value = String> {
    let v4 = (0..16_u8, 28..=32_u8).prop_map(|(last, prefix)| {
        let mask = (0xff_u16 << (32 - prefix)) as u8;
        format!("10.0.0.{}/{prefix}", last & mask)
    });
    let v6 = (0..8_u16, 125..=128_u8).prop_map(|(last, prefix)| {
        let mask = (0xff_u16 << (128 - prefix)) & 0xff;
        format!("2001:db8::{:x}/{prefix}", last & mask)
    });
    prop_oneof![
        12 => v4,
        3 => v6,
        1 => prop::sample::select(vec!["0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "169.252.0.0/14", "169.254.0.0/16", "10.0.0.1/24", "x"])
            .prop_map(str::to_owned),
    ]
}

fn port() -> impl Strategy<Value = Port> {
    let protocol = prop::sample::select(vec![Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    (1..12_u16, prop::option::of(0..6_u16), protocol).prop_map(|(port, more, protocol)| Port {
        port,
        end_port: more.map(|more| port + more),
        protocol,
    })
}

/// A selector; written with labels or with expressions.
fn selector() -> impl Strategy<Value = Value> {
    let expression = (
        prop::sample::select(vec!["app", "tier"]),
        prop::sample::select(vec!["In", "NotIn", "Exists", "DoesNotExist"]),
        prop::sample::subsequence(vec!["a", "b", "x"], 1..3),
    )
        .prop_map(|(key, operator, values)| match operator {
            "In" | "NotIn" => json!({"key": key, "operator": operator, "values": values}),
            _ => json!({"key": key, "operator": operator}),
        });
    (prop::option::of(labels()), prop::collection::vec(expression, 0..3)).prop_map(
        |(labels, expressions)| json!({"matchLabels": labels.unwrap_or_default(), "matchExpressions": expressions}),
    )
}

fn names() -> impl Strategy<Value = Vec<&'static str>> {
    let one = prop::sample::select(vec![
        "a.example.com",
        "b.example.com",
        "x.a.example.com",
        "gone.example.com",
        "*.example.com",
        "*.a.example.com",
    ]);
    prop::collection::vec(one, 1..4)
}

fn endpoint() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["a.example.com", "b.example.com", "x.a.example.com"]);
    let networks = prop::sample::subsequence(vec!["10.0.0.0/30", "10.0.0.8/29", "2001:db8::/126", "10.0.0.0/24"], 1..4);
    (name, networks)
        .prop_map(|(name, networks)| json!({"privateEndpoint": {"domainName": name, "expectedNetworks": networks}}))
}

/// What the names of the universe stand for, each for addresses of its own.
const DNS: [(&str, &[&str]); 3] = [
    ("a.example.com", &["10.0.0.1", "10.0.0.9", "64:ff9b::a00:9"]),
    ("b.example.com", &["10.0.0.2", "2001:db8::3"]),
    ("x.a.example.com", &["10.0.0.12"]),
];

fn dns(host: &Host) -> Option<KnownName> {
    let (_, addresses) = DNS.iter().find(|(name, _)| *name == host.name.name())?;
    let records = addresses.iter().map(|address| (address.parse().unwrap(), SignedDuration::from_secs(30)));
    let universe = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let expected = match host.expected() {
        Where::Public => Where::Inside(&universe),
        inside => inside,
    };
    let outcome = match Answer::believed(records, expected, &NeverOpened::new(&[])) {
        Ok(answer) => Outcome::Answered(answer),
        Err(why) => Outcome::Refused(why),
    };
    let mut known = KnownName::default();
    known.learn(outcome, Timestamp::UNIX_EPOCH, &Limits::default());
    Some(known)
}

/// The opening at the addresses that its names have.
pub fn resolved(opening: &AllowRule) -> AllowRule {
    held(opening).0
}

/// The same, and what is known of its names.
pub fn held(opening: &AllowRule) -> (AllowRule, Vec<Held>) {
    let (limits, never) = (Limits::default(), NeverOpened::new(&[]));
    let names = Names { known: &dns, limits: &limits, never: &never, now: Timestamp::UNIX_EPOCH };
    opening.clone().at_addresses(&names)
}

/// Whether a declared name stands for another.
fn stands_for(declared: &str, name: &str) -> bool {
    match declared.strip_prefix('*') {
        Some(suffix) => name.ends_with(suffix),
        None => declared == name,
    }
}

/// The IPv4 address that NAT64 makes of an address; any other as it is.
fn translated(address: IpAddr) -> IpAddr {
    match number(address) {
        number if number >> 32 == 0x0064_ff9b << 64 => {
            u32::try_from(number & 0xffff_ffff).unwrap().to_be_bytes().into()
        }
        _ => address,
    }
}

/// Whether one of the names of a rule leads to the address.
fn names_admit(rule: &Value, address: IpAddr) -> bool {
    let at = |name: &str| {
        let (_, addresses) = DNS.iter().find(|(known, _)| *known == name)?;
        Some(addresses.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect::<Vec<_>>())
    };
    let declared = rule["domainNames"].as_array().into_iter().flatten();
    let public = declared.filter_map(Value::as_str).any(|declared| {
        let meant = DNS.iter().filter(|(name, _)| stands_for(declared, name));
        meant.into_iter().any(|(name, _)| at(name).is_some_and(|all| all.contains(&address)))
    });
    let endpoint = &rule["privateEndpoint"];
    let private = endpoint["domainName"].as_str().and_then(at).is_some_and(|all| {
        let inside = |address: &IpAddr| {
            let mut networks = endpoint["expectedNetworks"].as_array().into_iter().flatten();
            networks.any(|network| {
                let network = network.as_str().unwrap();
                in_network(network, *address) || in_network(network, translated(*address))
            })
        };
        // Each family is judged by itself.
        let mut family = all.iter().filter(|one| one.is_ipv4() == address.is_ipv4());
        all.contains(&address) && family.all(inside)
    });
    public || private
}

pub fn rule() -> impl Strategy<Value = EgressRule> {
    let target = prop_oneof![
        8 => prop::collection::vec(network(), 1..5).prop_map(|networks| json!({"networks": networks})),
        4 => prop::sample::select(vec!["cache", "cache", "twin", "none"])
            .prop_map(|name| json!({"service": {"namespace": "infra", "name": name}})),
        4 => names().prop_map(|names| json!({"domainNames": names})),
        4 => endpoint(),
        1 => Just(json!({"networks": ["10.0.0.0/24"], "domainNames": ["a.example.com"]})),
    ];
    (target, prop::collection::vec(port(), 1..4), prop::option::weighted(0.6, selector())).prop_map(
        |(target, ports, selector)| {
            let mut rule = json!({"name": "rule", "ports": ports, "podSelector": selector});
            rule.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
            serde_json::from_value(rule).unwrap()
        },
    )
}

/// A rule and what allowlists allow, much of it close to the rule: halves of it, wider ports, looser pods.
pub fn rule_and_allowed() -> impl Strategy<Value = (EgressRule, Vec<EgressRule>)> {
    rule().prop_flat_map(|own| {
        let allowed = prop_oneof![2 => close_to(own.clone()).boxed(), 1 => rule().boxed()];
        (Just(own), prop::collection::vec(allowed, 0..6))
    })
}

fn close_to(own: EgressRule) -> impl Strategy<Value = EgressRule> {
    let looser = selector().prop_map(|selector| serde_json::from_value(selector).unwrap());
    let pods = prop_oneof![
        2 => Just(None),
        2 => Just(own.pod_selector.clone()),
        3 => looser.prop_map(Some),
    ];
    let networks = own.networks.clone().unwrap_or_default();
    let widened = (0..3_u16, 0..3_u16);
    let others = (prop::option::of(names()), prop::option::of(endpoint()));
    (pods, prop::sample::subsequence(networks.clone(), 0..=networks.len()), 0..4_u8, widened, others).prop_map(
        move |(pods, some, way, (before, after), (names, endpoint))| {
            let mut rule = own.clone();
            rule.pod_selector = pods;
            if let (Some(own), Some(names)) = (&mut rule.domain_names, names) {
                *own = names.into_iter().map(str::to_owned).collect();
            }
            if let (Some(own), Some(endpoint)) = (&mut rule.private_endpoint, endpoint) {
                *own = serde_json::from_value(endpoint["privateEndpoint"].clone()).unwrap();
            }
            if let Some(networks) = &mut rule.networks {
                match way {
                    0 if !some.is_empty() => *networks = some,
                    1 => *networks = vec!["10.0.0.0/29".to_owned(), "2001:db8::/126".to_owned()],
                    2 => *networks = vec!["10.0.0.8/29".to_owned(), "2001:db8::4/126".to_owned()],
                    _ => {}
                }
            }
            for port in &mut rule.ports {
                let last = port.end_port.unwrap_or(port.port);
                // Cut in two, or widened.
                (port.port, port.end_port) = match way {
                    1 => (port.port, Some((last + before).max(port.port))),
                    2 => ((port.port + before).min(last), Some(last + after)),
                    _ => (port.port.saturating_sub(before).max(1), Some(last + after)),
                };
            }
            rule
        },
    )
}

/// A connection that the rule may well be about.
pub fn probe_of(rule: &EgressRule) -> impl Strategy<Value = Probe> + use<> {
    let ports = prop::sample::select(rule.ports.clone());
    (probe(), ports, any::<prop::sample::Index>(), any::<bool>()).prop_map(|(mut probe, port, index, alone)| {
        if alone {
            let width = usize::from(port.end_port.unwrap_or(port.port).saturating_sub(port.port)) + 1;
            probe.protocol = port.protocol.as_str();
            probe.port = port.port + u16::try_from(index.index(width)).unwrap();
        }
        probe
    })
}

/// A rule, what is allowed, and connections.
pub fn scenario() -> impl Strategy<Value = (EgressRule, Vec<EgressRule>, Vec<Probe>)> {
    rule_and_allowed().prop_flat_map(|(own, allowed)| {
        let probes = prop::collection::vec(probe_of(&own), 96);
        (Just(own), Just(allowed), probes)
    })
}

/// The Services of the cluster: `infra/cache` and `infra/twin`.
pub fn service(reference: &ServiceReference) -> Option<ServiceFacts> {
    use PolicyPortNumber::{Name, Number};
    let port = |port, protocol, target| ServicePortFacts { port, protocol, target };
    let tcp = |service_port, target| port(service_port, Protocol::Tcp, target);
    let (app, ports) = match (reference.namespace.as_str(), reference.name.as_str()) {
        ("infra", "cache") => (
            "a",
            vec![
                tcp(1, Number(1)),
                tcp(2, Number(9)),
                tcp(3, Name("web".into())),
                tcp(5, Number(9)),
                port(4, Protocol::Udp, Number(4)),
            ],
        ),
        ("infra", "twin") => ("b", (1..12).map(|number| tcp(number, Number(number))).collect()),
        _ => return None,
    };
    Some(ServiceFacts {
        uid: String::new(),
        selector: [("app".to_owned(), app.to_owned())].into(),
        external_name: false,
        on_node: None,
        ports,
    })
}

/// First and last address of a network as numbers. Nothing where bits are set after its prefix.
pub fn range(cidr: &str) -> Option<(u128, u128)> {
    let (address, prefix) = cidr.split_once('/')?;
    let (address, prefix): (IpAddr, u32) = (address.parse().ok()?, prefix.parse().ok()?);
    let host_bits = (if address.is_ipv4() { 32_u32 } else { 128 }).checked_sub(prefix)?;
    let (start, hosts) = (number(address), u128::MAX.checked_shr(128 - host_bits).unwrap_or(0));
    (start & hosts == 0).then_some((start, start + hosts))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn in_network(cidr: &str, address: IpAddr) -> bool {
    let same_family = cidr.contains(':') == address.is_ipv6();
    same_family && range(cidr).is_some_and(|(start, end)| (start..=end).contains(&number(address)))
}

/// Whether a list of networks names where the connection goes.
pub fn target_admits(networks: &[String], probe: &Probe) -> bool {
    probe.address().is_some_and(|address| networks.iter().any(|network| in_network(network, address)))
}

/// What the rule says of the connection, whoever agreed to it.
pub fn rule_admits(rule: &EgressRule, probe: &Probe) -> bool {
    let rule = serde_json::to_value(rule).unwrap();
    let port_named = |protocol: &str, port: u16| {
        rule["ports"].as_array().unwrap().iter().any(|named| {
            let (first, last) = (named["port"].as_u64().unwrap(), named["endPort"].as_u64());
            named["protocol"] == protocol && (first..=last.unwrap_or(first)).contains(&port.into())
        })
    };
    let reaches = match &probe.to {
        Destination::Address(address) => {
            let mut networks = rule["networks"].as_array().into_iter().flatten();
            port_named(probe.protocol, probe.port)
                && (networks.any(|network| in_network(network.as_str().unwrap(), *address))
                    || names_admit(&rule, *address))
        }
        Destination::Pod { namespace, labels } => {
            let Ok(reference) = serde_json::from_value::<ServiceReference>(rule["service"].clone()) else {
                return false;
            };
            let Some(facts) = service(&reference) else {
                return false;
            };
            let selected = reference.namespace == *namespace
                && facts.selector.iter().all(|(key, value)| labels.get(key) == Some(value));
            selected
                && facts.ports.iter().any(|fact| {
                    let target = match &fact.target {
                        PolicyPortNumber::Number(number) => *number,
                        PolicyPortNumber::Name(_) => WEB,
                    };
                    fact.protocol.as_str() == probe.protocol
                        && target == probe.port
                        && port_named(probe.protocol, fact.port)
                })
        }
    };
    reaches && matches(&rule["podSelector"], &probe.from)
}

/// What the NetworkPolicy of an opening says of the connection.
pub fn opening_admits(opening: &AllowRule, probe: &Probe) -> bool {
    let spec = serde_json::to_value(resolved(opening).to_network_policy_spec()).unwrap();
    matches(&spec["podSelector"], &probe.from)
        && spec["egress"].as_array().into_iter().flatten().any(|rule| {
            // An absent or empty list means everything.
            let any = |list: &Value, admits: &dyn Fn(&Value) -> bool| {
                list.as_array().is_none_or(|list| list.is_empty() || list.iter().any(admits))
            };
            any(&rule["to"], &|peer| peer_admits(peer, probe)) && any(&rule["ports"], &|port| port_admits(port, probe))
        })
}

fn peer_admits(peer: &Value, probe: &Probe) -> bool {
    match &probe.to {
        Destination::Address(address) => {
            assert!(peer["ipBlock"]["except"].is_null(), "dataplanes differ on except");
            peer["ipBlock"]["cidr"].as_str().is_some_and(|cidr| in_network(cidr, *address))
        }
        Destination::Pod { namespace, labels } => {
            let name = Labels::from([("kubernetes.io/metadata.name".to_owned(), (*namespace).to_owned())]);
            peer["ipBlock"].is_null()
                && matches(&peer["namespaceSelector"], &name)
                && matches(&peer["podSelector"], labels)
        }
    }
}

fn port_admits(port: &Value, probe: &Probe) -> bool {
    let first = if port["port"] == "web" { WEB.into() } else { port["port"].as_u64().unwrap() };
    let last = port["endPort"].as_u64().unwrap_or(first);
    port["protocol"] == probe.protocol && (first..=last).contains(&probe.port.into())
}

fn matches(selector: &Value, labels: &Labels) -> bool {
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    equal.into_iter().all(|(key, value)| labels.get(key).is_some_and(|label| label == value))
        && expressions.all(|expression| {
            let label = labels.get(expression["key"].as_str().unwrap());
            let values = expression["values"].as_array().cloned().unwrap_or_default();
            let listed = label.is_some_and(|label| values.iter().any(|value| value == label));
            match expression["operator"].as_str().unwrap() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => label.is_some(),
                "DoesNotExist" => label.is_none(),
                other => panic!("{other}"),
            }
        })
}
