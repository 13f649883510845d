//! Networks, addresses and domain names.

use super::rule::{looks_like_or, matches, rule};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// That no bits are set after the prefix. What to write instead cannot be said: to write a network out costs more than a
/// schema may.
fn own_address() -> Value {
    rule(
        "!isCIDR(self) || cidr(self) == cidr(self).masked()",
        "must be the network's own address, with no bits set after the prefix: 203.0.113.0/24 instead of 203.0.113.7/24; one \
         address is 203.0.113.7/32",
    )
}

/// One network in CIDR notation, written canonically: no host bits set, no IPv4-mapped IPv6.
fn cidr() -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 43,
        "x-kubernetes-validations": [
            rule("isCIDR(self)", "must be a network in CIDR notation, such as 203.0.113.0/24; one address is 203.0.113.7/32"),
            own_address(),
        ],
    })
}

/// One to 64 distinct networks.
pub fn cidrs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "minItems": 1, "maxItems": 64, "items": cidr(), "x-kubernetes-list-type": "set"})
}

/// Up to 64 networks of a cluster, which are what their one applier wrote.
pub fn own_cidrs(_: &mut SchemaGenerator) -> Schema {
    let mut item = cidr();
    if let Some(rules) = item.get_mut("x-kubernetes-validations").and_then(Value::as_array_mut) {
        rules.push(rule(
            "!isCIDR(self) || cidr(self).prefixLength() >= (cidr(self).ip().family() == 4 ? 8 : 16)",
            "is wider than /8, or /16 of IPv6, and would close nearly all egress; name the networks of pods, Services and nodes",
        ));
    }
    json_schema!({"type": "array", "maxItems": 64, "items": item, "x-kubernetes-list-type": "atomic"})
}

/// Up to 64 networks that the operator may open: admission lets it open no wider ones (operator-networkpolicies.cloister.dev).
pub fn openable_cidrs(_: &mut SchemaGenerator) -> Schema {
    let v4 = "cidr(self).ip().family() == 4";
    let mut item = cidr();
    let rules = item.get_mut("x-kubernetes-validations").and_then(Value::as_array_mut);
    rules.into_iter().for_each(|rules| {
        rules.push(rule(
            format!("!isCIDR(self) || cidr(self).prefixLength() >= ({v4} ? 8 : 16)"),
            "is wider than /8, or /16 of IPv6, which the operator may not open; name the networks that people connect from",
        ));
        rules.push(rule(
            format!(
                "!isCIDR(self) || {v4} || cidr(self).prefixLength() < 16 || (['::/96', '64:ff9b:1::/48', '2001::/32'].all(n, !cidr(n).containsCIDR(self) && \
                 !cidr(self).containsCIDR(n)) && (cidr('64:ff9b::/96').containsCIDR(self) ? cidr(self).prefixLength() >= 104 : \
                 !cidr(self).containsCIDR('64:ff9b::/96')) && (!cidr('2002::/16').containsCIDR(self) || \
                 cidr(self).prefixLength() >= 24))"
            ),
            "is an IPv6 network that embeds more than a /8 of IPv4, which the operator may not open; name the IPv4 networks",
        ));
    });
    let wide = "isCIDR(n) && cidr(n).prefixLength() < (cidr(n).ip().family() == 4 ? 16 : \
         cidr('64:ff9b::/96').containsCIDR(n) ? 112 : 32)";
    let few = rule(
        format!("self.filter(n, {wide}).size() <= 16"),
        "holds more than 16 networks that are wider than /16, or /32 of IPv6, which the operator may not open together",
    );
    json_schema!({
        "type": "array", "maxItems": 64, "items": item, "x-kubernetes-list-type": "atomic",
        "x-kubernetes-validations": [few],
    })
}

/// Up to 16 addresses, which are what their one applier wrote.
pub fn addresses(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 16, "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "string", "maxLength": 45,
            "x-kubernetes-validations": [rule("isIP(self)", "must be an IPv4 or IPv6 address, such as 192.0.2.53")],
        },
    })
}

const SOCKET: &str = r"^([0-9.]+|\[[0-9a-f:.]+\]):[1-9][0-9]{0,4}$";

/// Up to 16 addresses with a port, as `192.0.2.53:53` or `[2001:db8::53]:53`.
pub fn sockets(_: &mut SchemaGenerator) -> Schema {
    let sentence = "must be an address and a port from 1 to 65535, such as 192.0.2.53:53 or [2001:db8::53]:53";
    let faults = [
        ("isIP(self)", "has no port; write 192.0.2.53:53, or [2001:db8::53]:53"),
        (
            "self.matches('[a-zA-Z]') && !self.contains('[')",
            "is a name; write the server's address and its port, such as 192.0.2.53:53",
        ),
    ];
    let shape = matches(SOCKET);
    let address = "isIP(self.startsWith('[') ? self.substring(1, self.lastIndexOf(']')) : self.substring(0, self.lastIndexOf(':')))";
    let port = "int(self.substring(self.lastIndexOf(':') + 1)) <= 65535";
    json_schema!({
        "type": "array", "maxItems": 16, "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "string", "maxLength": 64,
            "x-kubernetes-validations": [
                looks_like_or(SOCKET, &faults, sentence),
                rule(format!("!{shape} || {address} && {port}"), sentence),
            ],
        },
    })
}

/// A label of a name in DNS. A host's own has no underscore, but names of buckets and of services do.
const LABEL: &str = "[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9])?";

/// The last label: what begins with a digit is read as an address (`10.1`).
const LAST_LABEL: &str = "[a-z]([-a-z0-9]{0,61}[a-z0-9])?";

/// What is wrong with a text that is no domain name, as `NameFault` of cloister-core says it.
const NAME_FAULTS: [(&str, &str); 11] = [
    ("isIP(self) || isCIDR(self)", "is an address; declare it under networks, such as 203.0.113.7/32"),
    ("self.contains('://')", "is a URL; write only its host, such as export.arxiv.org"),
    ("self.contains('/')", "has a path; write only the host, such as export.arxiv.org: egress opens whole hosts"),
    ("self.contains(':')", "has a port; write only the host, such as export.arxiv.org, and the port under ports"),
    ("self.matches('[^ -~]')", "is not ASCII; write it as it is in DNS: bücher.example is xn--bcher-kva.example"),
    ("self.matches('^[*][.][^.*]+$')", "has no dot after *.; name a domain that one owner has, such as *.example.com"),
    (
        "self.matches('[*]')",
        "has a * that is not *. in front of a domain; write *.example.com (* alone stands for every name, and nothing opens \
         that)",
    ),
    ("self.matches('[A-Z]')", "has capital letters, which DNS does not distinguish; write it in lower case"),
    ("self.matches('[^.][.]$')", "ends with a dot; leave it out, names are always absolute"),
    ("self.matches('[.][0-9][^.]*$')", "ends with a label that begins with a digit, which programs read as an address"),
    (
        "!self.contains('.')",
        "has no dot; write the fully qualified name, such as export.arxiv.org, or name the Service",
    ),
];

const NAME_OTHERWISE: &str = "must be a domain name, such as export.arxiv.org: labels of at most 63 letters, digits, - and _ \
     with dots between them; no label is empty, begins with - or ends with - or _, and the last begins with a letter and has no _";

fn name(star: &str, faults: &[(&str, &str)]) -> Schema {
    let rule = looks_like_or(&format!(r"^{star}({LABEL}\.)+{LAST_LABEL}$"), faults, NAME_OTHERWISE);
    json_schema!({"type": "string", "maxLength": 253, "x-kubernetes-validations": [rule]})
}

/// A fully qualified domain name in lower case, without the trailing dot.
pub fn one_domain_name(_: &mut SchemaGenerator) -> Schema {
    let mut faults = NAME_FAULTS.to_vec();
    faults.retain(|(fault, _)| !fault.contains("[*]"));
    faults.insert(
        0,
        ("self.contains('*')", "has a *; only one exact name is possible here, such as acct.blob.example.com"),
    );
    name("", &faults)
}

/// Up to 64 domains, which are what their one applier wrote.
pub fn shared_suffixes(generator: &mut SchemaGenerator) -> Schema {
    let one = one_domain_name(generator);
    json_schema!({"type": "array", "maxItems": 64, "items": one, "x-kubernetes-list-type": "atomic"})
}

/// One to 64 distinct domain names; `*.` in front stands for one or more labels.
pub fn domain_names(_: &mut SchemaGenerator) -> Schema {
    let one = name(r"(\*\.)?", &NAME_FAULTS);
    json_schema!({"type": "array", "minItems": 1, "maxItems": 64, "items": one, "x-kubernetes-list-type": "set"})
}
