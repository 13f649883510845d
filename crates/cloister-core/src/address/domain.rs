//! Domain names that egress is opened to.
//!
//! A name is written as it goes over the wire: in ASCII, so that whoever agrees to it sees what is asked, whatever letters
//! of other alphabets look like.

use std::{fmt, net::IpAddr, str::FromStr};

/// The longest name, as it is written (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 253;

/// The longest of its labels.
const LONGEST_LABEL: usize = 63;

/// Names that no resolver asks the Internet for (RFC 6761, RFC 6762, RFC 7686).
const SPECIAL_USE: [&str; 4] = ["localhost", "local", "onion", "invalid"];

/// A fully qualified domain name in lower case, or all names below one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName {
    name: Box<str>,
    is_wildcard: bool,
}

/// Why a name cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// It is an address.
    #[error("is an address; declare it under networks")]
    Address,
    /// It has letters beyond ASCII.
    #[error("is not ASCII; write it as DNS has it{}", .ascii.as_ref().map(|ascii| format!(": {ascii}")).unwrap_or_default())]
    NotAscii {
        /// The same name in ASCII, where it is one at all.
        ascii: Option<String>,
    },
    /// It ends with a dot.
    #[error("ends with a dot; leave it out, names are always absolute")]
    TrailingDot,
    /// It has a `*` where none can be.
    #[error(
        "has a * that is not *. in front of a domain; write *.example.com (* alone stands for every name, and nothing opens that)"
    )]
    Star,
    /// It is longer than a name can be.
    #[error("is longer than 253 characters")]
    TooLong,
    /// One of its labels cannot be part of a host's name.
    #[error("has the label {label:?}, which {problem}")]
    Label {
        /// The label.
        label: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It has one label.
    #[error("has no dot; write the fully qualified name, or name the Service")]
    NotQualified,
    /// It is a name of the API server.
    #[error("is the API server, which is never opened to research pods")]
    ApiServer,
    /// It is a name of a Service, which the cluster's own DNS alone answers.
    #[error("is a name inside the cluster; name the Service under service, with its namespace")]
    InCluster,
    /// It is not asked in DNS, or means this machine.
    #[error("is below {0}, which no DNS server answers for")]
    SpecialUse(&'static str),
    /// Anybody can have a name below it.
    #[error(
        "stands for all names below {0}, under which anybody can register a name; name hosts (of object storage: as privateEndpoint), or a domain with one owner"
    )]
    PublicSuffix(String),
}

impl DomainName {
    /// The name; of a wildcard, the one that all of its names are below.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it stands for all names below it, at any depth, and not for itself.
    pub fn is_wildcard(&self) -> bool {
        self.is_wildcard
    }

    /// Whether it stands for every name that the other stands for.
    pub fn covers(&self, other: &DomainName) -> bool {
        if self.is_wildcard {
            (other.is_wildcard && self.name == other.name) || is_below(&other.name, &self.name)
        } else {
            self == other
        }
    }

    /// Whether any name that it stands for is this one, or below it.
    pub(crate) fn reaches(&self, suffix: &str) -> bool {
        *self.name == *suffix || is_below(&self.name, suffix) || (self.is_wildcard && is_below(suffix, &self.name))
    }

    /// Whether it has the form `service.namespace.svc.domain`, as names of Services have whatever the domain of the cluster is.
    pub(crate) fn is_like_that_of_a_service(&self) -> bool {
        self.name.split('.').skip(2).any(|label| label == "svc")
    }

    /// What both stand for: names form a tree, so that it is one of the two or nothing.
    pub fn intersection<'a>(&'a self, other: &'a DomainName) -> Option<&'a DomainName> {
        if self.covers(other) { Some(other) } else { other.covers(self).then_some(self) }
    }
}

fn is_below(name: &str, above: &str) -> bool {
    name.strip_suffix(above).is_some_and(|rest| rest.ends_with('.'))
}

impl FromStr for DomainName {
    type Err = NameFault;

    fn from_str(written: &str) -> Result<Self, NameFault> {
        let (name, is_wildcard) = match written.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (written, false),
        };
        let name = name.to_ascii_lowercase();
        check(&name)?;
        if is_wildcard && psl::suffix_str(&name) == Some(&name) {
            return Err(NameFault::PublicSuffix(name));
        }
        Ok(DomainName { name: name.into(), is_wildcard })
    }
}

fn check(name: &str) -> Result<(), NameFault> {
    if is_address(name) {
        return Err(NameFault::Address);
    }
    if name.contains('*') {
        return Err(NameFault::Star);
    }
    if !name.is_ascii() {
        return Err(NameFault::NotAscii { ascii: idna::domain_to_ascii_strict(name).ok() });
    }
    if name.ends_with('.') {
        return Err(NameFault::TrailingDot);
    }
    if name.len() > LONGEST_NAME {
        return Err(NameFault::TooLong);
    }
    for label in name.split('.') {
        check_label(label).map_err(|problem| NameFault::Label { label: shortened(label), problem })?;
    }
    let Some((_, last)) = name.rsplit_once('.') else { return Err(NameFault::NotQualified) };
    // What resolvers take for an address: 10.1, 0x7f.1 (inet_aton).
    if last.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(NameFault::Address);
    }
    if last.contains('_') {
        return Err(NameFault::Label { label: shortened(last), problem: "is the last, and has an underscore" });
    }
    if let Some(fault) = in_cluster(name) {
        return Err(fault);
    }
    match SPECIAL_USE.iter().find(|special| *special == &last) {
        Some(special) => Err(NameFault::SpecialUse(special)),
        None => Ok(()),
    }
}

/// The cluster's domain, as nearly every cluster has it.
const CLUSTER_DOMAIN: &str = ".cluster.local";

/// Why a name that the cluster's own DNS answers is no name of an egress rule.
fn in_cluster(name: &str) -> Option<NameFault> {
    let inside = name.strip_suffix(CLUSTER_DOMAIN);
    let bare = inside.unwrap_or(name);
    match bare {
        "kubernetes.default" | "kubernetes.default.svc" => Some(NameFault::ApiServer),
        _ => (inside.is_some() || bare.ends_with(".svc")).then_some(NameFault::InCluster),
    }
}

fn is_address(text: &str) -> bool {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok() || text.parse::<ipnet::IpNet>().is_ok()
}

fn check_label(label: &str) -> Result<(), &'static str> {
    if label.is_empty() {
        return Err("is empty");
    }
    if label.len() > LONGEST_LABEL {
        return Err("is longer than 63 characters");
    }
    // No host's own name has an underscore (RFC 952), but DNS answers for names that do: those of buckets and of services.
    if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err("has other characters than letters, digits, - and _");
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("begins or ends with -");
    }
    if label.len() > 1 && label.ends_with('_') {
        return Err("ends with _");
    }
    // A label in Punycode must be one that some name really has (RFC 5891, section 5.4).
    if label.starts_with("xn--") && idna::domain_to_unicode(label).1.is_err() {
        return Err("is not valid Punycode");
    }
    Ok(())
}

fn shortened(label: &str) -> String {
    label.chars().take(LONGEST_LABEL + 1).collect()
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.is_wildcard { "*." } else { "" };
        write!(f, "{star}{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap_or_else(|fault| panic!("{text} {fault}"))
    }

    fn fault(text: &str) -> NameFault {
        text.parse::<DomainName>().expect_err(text)
    }

    #[test]
    fn names_that_hosts_have() {
        let label = "a".repeat(63);
        for text in ["export.arxiv.org", "a.b", "xn--bcher-kva.example", "*.example.com", "*.a.co.uk", "3com.com"] {
            assert_eq!(name(text).to_string(), text);
        }
        assert_eq!(name("Export.ARXIV.org").to_string(), "export.arxiv.org");
        assert_eq!(name(&format!("{label}.com")).name().len(), 67);
        let longest = format!("{label}.{label}.{label}.{}.com", "a".repeat(57));
        assert_eq!(name(&longest).name().len(), 253);
        assert_eq!(fault(&format!("a{longest}")), NameFault::TooLong);
    }

    #[test]
    fn addresses_are_no_names() {
        for text in
            ["203.0.113.9", "2001:db8::1", "[::1]", "::ffff:10.0.0.1", "10.0.0.0/8", "10.1", "0x7f.1", "1.2.3.4.5"]
        {
            assert_eq!(fault(text), NameFault::Address, "{text}");
        }
    }

    #[test]
    fn letters_of_other_alphabets_are_written_as_they_are_asked() {
        assert_eq!(fault("bücher.example"), NameFault::NotAscii { ascii: Some("xn--bcher-kva.example".into()) });
        assert!(fault("bücher.example").to_string().ends_with("xn--bcher-kva.example"));
        assert!(matches!(fault("🦀.example"), NameFault::NotAscii { .. }));
        assert!(matches!(fault("a\u{200b}b.example"), NameFault::NotAscii { .. }));
        assert!(matches!(fault("xn--\u{0}.example"), NameFault::Label { .. }));
        assert!(matches!(fault("xn--a.example"), NameFault::Label { .. }));
    }

    #[test]
    fn labels_are_those_of_hosts() {
        let long = "a".repeat(64);
        for text in ["my_bucket.s3.amazonaws.com", "_dnslink.example.org", "_.example.org", "*.a_b.example.com"] {
            assert_eq!(name(text).to_string(), text);
        }
        for text in ["a_.b.c", "a._tcp", "a..b", ".a.b", "-a.b.c", "a-.b.c", "a b.c", "a/b.c", &format!("{long}.com")] {
            assert!(matches!(fault(text), NameFault::Label { .. }), "{text}: {}", fault(text));
        }
        assert_eq!(fault("example.com."), NameFault::TrailingDot);
        assert_eq!(fault("mirror"), NameFault::NotQualified);
        assert_eq!(fault("com"), NameFault::NotQualified);
        assert_eq!(fault("a.localhost"), NameFault::SpecialUse("localhost"));
        assert_eq!(fault("printer.local"), NameFault::SpecialUse("local"));
        assert!(matches!(fault(""), NameFault::Label { .. }));
    }

    #[test]
    fn what_is_inside_of_the_cluster_is_named_as_a_service() {
        for text in ["kubernetes.default", "kubernetes.default.svc", "Kubernetes.default.svc.cluster.local"] {
            assert_eq!(fault(text), NameFault::ApiServer, "{text}");
        }
        for text in ["cache.infra.svc", "cache.infra.svc.cluster.local", "*.infra.svc.cluster.local", "x.cluster.local"]
        {
            assert_eq!(fault(text), NameFault::InCluster, "{text}");
        }
        assert_eq!(name("svc.example.com").name(), "svc.example.com");
        for text in ["cache.infra.svc.k8s.example", "cache-0.cache.infra.svc.k8s.example"] {
            assert!(name(text).is_like_that_of_a_service(), "{text}");
        }
        for text in ["svc.example.com", "www.svc.example.com", "a.b.svcs.example.com", "www.example.com"] {
            assert!(!name(text).is_like_that_of_a_service(), "{text}");
        }
    }

    #[test]
    fn a_wildcard_is_below_what_one_owner_has() {
        for text in ["*.co.uk", "*.github.io", "*.blob.core.windows.net", "*.s3.amazonaws.com"] {
            assert_eq!(fault(text), NameFault::PublicSuffix(text[2..].to_owned()));
        }
        for text in ["*", "**.example.com", "a.*.com", "*example.com", "*.*.com"] {
            assert_eq!(fault(text), NameFault::Star, "{text}");
        }
        assert_eq!(
            NameFault::Star.to_string(),
            "has a * that is not *. in front of a domain; write *.example.com (* alone stands for every name, and nothing opens \
             that)"
        );
        assert!(matches!(fault("*.com"), NameFault::NotQualified));
        assert_eq!(name("*.acct.blob.core.windows.net").name(), "acct.blob.core.windows.net");
    }

    #[test]
    fn a_wildcard_covers_what_is_below_it() {
        let (all, some, one) = (name("*.example.com"), name("*.a.example.com"), name("b.a.example.com"));
        assert!(all.covers(&some) && all.covers(&one) && some.covers(&one) && all.covers(&all));
        assert!(!some.covers(&all) && !one.covers(&some));
        assert!(!all.covers(&name("example.com")) && !all.covers(&name("badexample.com")));
        assert_eq!(all.intersection(&one), Some(&one));
        assert_eq!(one.intersection(&some), Some(&one));
        assert_eq!(some.intersection(&name("*.b.example.com")), None);
    }
}
