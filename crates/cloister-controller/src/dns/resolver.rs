//! Asking DNS servers, each of them, because each may have cached something else.

use cloister_core::dns::NO_SERVER;
use futures::future::join_all;
use hickory_resolver::{
    Resolver, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, NoRecords, runtime::TokioRuntimeProvider},
    proto::{op::ResponseCode, rr::RecordType},
};
use jiff::SignedDuration;
use std::{
    collections::HashMap,
    future::Future,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::time::timeout;

/// How long a server may take for one try.
const TRY: Duration = Duration::from_secs(2);

/// How often it is tried.
const TRIES: usize = 2;

/// How long it may take in all, whatever it does.
const LIMIT: Duration = Duration::from_secs(8);

/// What one server said.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// Addresses, each with the shortest TTL on the way to it. The name may have none.
    Records(Vec<(IpAddr, SignedDuration)>),
    /// There is no such name.
    NoSuchName,
    /// It did not say.
    Failed(String),
    /// Nothing came from it.
    Silent(String),
}

/// A resolver for each server.
#[derive(Default)]
pub struct Resolvers(HashMap<SocketAddr, TokioResolver>);

impl Resolvers {
    /// Asks all servers for both kinds of address.
    pub fn ask(
        &mut self,
        servers: &[SocketAddr],
        name: &str,
    ) -> impl Future<Output = Vec<(SocketAddr, Response)>> + Send + 'static {
        self.0.retain(|server, _| servers.contains(server));
        let mut resolvers = Vec::new();
        for server in servers {
            let resolver = match self.0.get(server) {
                Some(resolver) => Ok(resolver.clone()),
                None => resolver(*server).inspect(|resolver| {
                    self.0.insert(*server, resolver.clone());
                }),
            };
            resolvers.push((*server, resolver));
        }
        // Absolute, so that no search list is tried.
        let name = format!("{name}.");
        async move { join_all(resolvers.into_iter().map(|(server, resolver)| one(server, resolver, &name))).await }
    }
}

fn resolver(server: SocketAddr) -> Result<TokioResolver, NetError> {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    config.connections = connections.into();
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![config]);
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = TRY;
    options.attempts = TRIES;
    // What is remembered, and for how long, is decided elsewhere.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.preserve_intermediates = true;
    options.edns0 = true;
    builder.build()
}

async fn one(server: SocketAddr, resolver: Result<TokioResolver, NetError>, name: &str) -> (SocketAddr, Response) {
    let resolver = match resolver {
        Ok(resolver) => resolver,
        Err(error) => return (server, Response::Failed(error.to_string())),
    };
    let ask = |kind| timeout(LIMIT, records(&resolver, name, kind));
    let (v4, v6) = futures::join!(ask(RecordType::A), ask(RecordType::AAAA));
    let late = || Response::Silent("no answer in time".into());
    (server, both(v4.unwrap_or_else(|_| late()), v6.unwrap_or_else(|_| late())))
}

async fn records(resolver: &TokioResolver, name: &str, kind: RecordType) -> Response {
    let lookup = match resolver.lookup(name, kind).await {
        Ok(lookup) => lookup,
        Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. }))) => {
            return match response_code {
                ResponseCode::NXDomain => Response::NoSuchName,
                ResponseCode::NoError => Response::Records(Vec::new()),
                other => Response::Failed(other.to_string()),
            };
        }
        Err(error @ NetError::Dns(_)) => return Response::Failed(error.to_string()),
        Err(error) => return Response::Silent(error.to_string()),
    };
    // An alias that runs out leads elsewhere, whatever its end says.
    let shortest = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
    let ttl = SignedDuration::from_secs(i64::from(shortest));
    let addresses = lookup.answers().iter().filter_map(|record| record.data.ip_addr());
    Response::Records(addresses.map(|address| (address, ttl)).collect())
}

/// What a server said of both families.
fn both(v4: Response, v6: Response) -> Response {
    match (v4, v6) {
        (Response::Records(mut records), Response::Records(others)) => {
            records.extend(others);
            Response::Records(records)
        }
        // A name that has addresses of one family is there.
        (Response::Records(records), _) | (_, Response::Records(records)) if !records.is_empty() => {
            Response::Records(records)
        }
        (Response::Failed(why), _) | (_, Response::Failed(why)) => Response::Failed(why),
        (Response::Silent(why), Response::Silent(_)) => Response::Silent(why),
        (Response::Silent(why), _) | (_, Response::Silent(why)) => Response::Failed(why),
        (Response::Records(_), Response::NoSuchName) | (Response::NoSuchName, Response::Records(_)) => {
            Response::Records(Vec::new())
        }
        (Response::NoSuchName, Response::NoSuchName) => Response::NoSuchName,
    }
}

/// What all servers said together: all of their addresses; that there is no such name, where all of them say so.
///
/// # Errors
///
/// Nobody gave an address, and not all could say that there is none.
pub fn merge(responses: Vec<(SocketAddr, Response)>) -> Result<Option<Vec<(IpAddr, SignedDuration)>>, String> {
    if responses.is_empty() {
        return Err(NO_SERVER.into());
    }
    let mut records = Vec::new();
    let mut failed = None;
    let mut exists = false;
    for (server, response) in responses {
        match response {
            Response::Records(more) => {
                exists = true;
                records.extend(more);
            }
            Response::NoSuchName => {}
            Response::Failed(why) | Response::Silent(why) => failed = failed.or(Some(format!("{server}: {why}"))),
        }
    }
    match failed {
        Some(why) if records.is_empty() => Err(why),
        _ => Ok(exists.then_some(records)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(addresses: &[&str]) -> Response {
        Response::Records(addresses.iter().map(|a| (a.parse().unwrap(), SignedDuration::from_secs(30))).collect())
    }

    fn failed() -> Response {
        Response::Failed("SERVFAIL".into())
    }

    /// What these servers said together.
    fn merged<const N: usize>(responses: [Response; N]) -> Result<Option<Vec<(IpAddr, SignedDuration)>>, String> {
        let server = |at: usize| SocketAddr::from(([127, 0, 0, 1], 5300 + u16::try_from(at).unwrap()));
        merge(responses.into_iter().enumerate().map(|(at, response)| (server(at), response)).collect())
    }

    #[test]
    fn a_name_is_gone_where_all_say_so() {
        assert_eq!(merged([Response::NoSuchName, Response::NoSuchName]), Ok(None));
        let why = |port: u16, why: &str| Err(format!("127.0.0.1:{port}: {why}"));
        assert_eq!(merged([Response::NoSuchName, failed()]), why(5301, "SERVFAIL"));
        assert_eq!(merged([Response::Silent("timed out".into()), Response::NoSuchName]), why(5300, "timed out"));
        assert_eq!(merged([Response::NoSuchName, records(&[])]), Ok(Some(Vec::new())));
        assert_eq!(merged([]), Err(NO_SERVER.to_owned()));
    }

    #[test]
    fn what_any_server_says_is_open() {
        let all = merged([records(&["198.51.100.1"]), failed(), records(&["2001:db8::1"])]).unwrap().unwrap();
        assert_eq!(all.len(), 2);
        assert!(merged([records(&[]), failed()]).is_err(), "the one that failed may know of some");
    }

    #[test]
    fn a_family_that_fails_does_not_close_the_other() {
        assert_eq!(both(records(&["198.51.100.1"]), failed()), records(&["198.51.100.1"]));
        assert_eq!(both(Response::NoSuchName, records(&["2001:db8::1"])), records(&["2001:db8::1"]));
        assert_eq!(both(records(&[]), failed()), failed());
        assert_eq!(both(Response::NoSuchName, records(&[])), records(&[]));
        let silent = || Response::Silent("timed out".into());
        assert_eq!(both(records(&["198.51.100.1"]), silent()), records(&["198.51.100.1"]));
        assert_eq!(both(silent(), silent()), silent());
        assert_eq!(both(Response::NoSuchName, silent()), Response::Failed("timed out".into()), "it did answer");
    }
}
