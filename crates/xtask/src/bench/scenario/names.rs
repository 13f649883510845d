//! (i) to (k): egress by name, with a real DNS server.

use super::Bench;
use crate::{
    bench::{
        outcome::{Goal, Meter, Outcome},
        people::{declare, declare_all, names},
        site::{PATIENCE, Site},
        watch::Watch,
    },
    dns::DnsServer,
    operator::Operator,
};
use anyhow::{Context, Result, ensure};
use cloister_api::{CloisterConfig, EgressAllowlist};
use futures::{StreamExt, TryStreamExt, stream};
use hickory_resolver::{
    Resolver, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::RecordType,
};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{Api, api::PostParams, runtime::watcher::Config};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long a name is asked often after it has shown something new, and a little more.
const CALM: Duration = Duration::from_secs(25);

/// The TTL of a name whose answer changes.
const LOW_TTL: u32 = 2;

/// The TTL of a name that rotates.
const ROTATION_TTL: u32 = 30;

/// How many addresses it has.
const ROTATION: u8 = 8;

/// How many names each namespace has, where there are many namespaces.
const NAMES: usize = 20;

/// Their TTL.
const STEADY_TTL: u32 = 10;

/// A site whose operator asks a DNS server of its own.
struct Place {
    site: Site,
    dns: DnsServer,
    operator: Operator,
}

impl Place {
    async fn open(bench: &Bench) -> Result<Self> {
        let dns = tokio::task::spawn_blocking(DnsServer::start).await??;
        let site = bench.site().await?;
        let config: CloisterConfig = serde_json::from_value(json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "CloisterConfig", "metadata": {"name": "cloister"},
            "spec": {"dns": {"servers": [dns.address().to_string()], "resolution": {"minimumTTL": "1s"}}},
        }))?;
        Api::all(site.admin.clone()).create(&PostParams::default(), &config).await?;
        let operator = site.start_operator().await?;
        Ok(Place { site, dns, operator })
    }

    /// Publishes an allowlist that is open everywhere.
    async fn publish(&self, rules: Vec<Value>) -> Result<()> {
        let allowlist: EgressAllowlist = serde_json::from_value(json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "EgressAllowlist", "metadata": {"name": "names"},
            "spec": {"namespaceSelector": {}, "attach": "Always", "rules": rules},
        }))?;
        Api::all(self.site.admin.clone()).create(&PostParams::default(), &allowlist).await?;
        Ok(())
    }

    async fn close(self) -> Result<()> {
        self.site.stop_operator(self.operator).await?;
        self.site.close().await
    }
}

fn rule(name: &str, hosts: &[String]) -> Value {
    json!({"name": name, "domainNames": hosts, "ports": [{"port": 443, "protocol": "TCP"}]})
}

/// (i): answers change, until the policies have the new address.
///
/// # Errors
///
/// Something does not work.
pub async fn changed(bench: &Bench) -> Result<Outcome> {
    let place = Place::open(bench).await?;
    let count = bench.scaled(60);
    let hosts: Vec<String> = (0..count).map(|at| format!("n{at}.names.example")).collect();
    let address = |at: usize, round: usize| format!("198.51.{}.{}", 100 + round, at + 1);
    for (at, host) in hosts.iter().enumerate() {
        place.dns.answer(host, &[&address(at, 0)], LOW_TTL)?;
    }
    place
        .publish(
            hosts.iter().enumerate().map(|(at, host)| rule(&format!("n{at}"), std::slice::from_ref(host))).collect(),
        )
        .await?;
    let name = "lab-0000";
    declare(&place.site.admin, name).await?;
    let policies: HashSet<String> = (0..count).map(|at| format!("cloister-allow.names.n{at}")).collect();
    let admin = place.site.admin.clone();
    place.site.until_quiet(&place.operator).await?;
    let mut watch = Watch::begin::<NetworkPolicy>(Api::namespaced(admin, name), Config::default()).await?;
    let seen = |sighting: &crate::bench::watch::Sighting| sighting.metadata.name.clone();
    // What is there already is seen first.
    watch.all(policies.clone(), PATIENCE, seen).await?;

    let (mut from, mut until) = (HashMap::new(), HashMap::new());
    let meter = Meter::begin(&place.site, Some(&place.operator))?;
    for round in 1..=4 {
        sleep(CALM).await;
        for (at, host) in hosts.iter().enumerate() {
            let all: Vec<String> = (0..=round).map(|round| address(at, round)).collect();
            place.dns.answer(host, &all.iter().map(String::as_str).collect::<Vec<_>>(), LOW_TTL)?;
            from.insert(format!("{round} cloister-allow.names.n{at}"), Instant::now());
        }
        let open = watch.all(policies.clone(), PATIENCE, seen).await?;
        until.extend(open.into_iter().map(|(policy, at)| (format!("{round} {policy}"), at)));
    }
    let side = meter.end(Some(&place.operator), &from, &until).await?;
    let p99 = side.latency.context("nothing was measured")?.p99 / 1000.0;
    place.close().await?;
    let title =
        format!("{count} names with a TTL of {LOW_TTL} s change 4 times, until they are open at the new address");
    let mut outcome = Outcome::of(&title, side, None);
    outcome.goals.push(Goal::at_most("p99 from a changed answer to the policy, s", f64::from(LOW_TTL) + 2.0, p99));
    Ok(outcome)
}

/// (j): one name rotates over several addresses, and pods ask for it.
///
/// # Errors
///
/// Something does not work.
pub async fn rotating(bench: &Bench) -> Result<Outcome> {
    let place = Place::open(bench).await?;
    let host = "rotating.names.example".to_owned();
    let all: Vec<String> = (1..=ROTATION).map(|at| format!("198.51.100.{}", u32::from(at) * 2)).collect();
    place.dns.set(&host, json!({"addresses": all, "ttl": ROTATION_TTL, "atATime": 1}))?;
    place.publish(vec![rule("rotating", std::slice::from_ref(&host))]).await?;
    let name = "lab-0000";
    let meter = Meter::begin(&place.site, Some(&place.operator))?;
    let declared = declare(&place.site.admin, name).await?;
    let policies: Api<NetworkPolicy> = Api::namespaced(place.site.admin.clone(), name);
    let mut watch = place.site.watch_policy("cloister-allow.names.rotating").await?;
    let open = watch.all([name.to_owned()].into(), PATIENCE, |sighting| Some(sighting.place.clone())).await?;
    sleep(Duration::from_secs(60)).await;

    let resolver = resolver(&place.dns)?;
    let (asks, batch) = (bench.scaled(10_000), 100);
    let (mut asked, mut closed) = (0, 0);
    while asked < asks {
        // What stood before the pods asked.
        let stood = networks(&policies.get("cloister-allow.names.rotating").await?)?;
        let answers = stream::iter(0..batch).map(|_| ask(&resolver, &host)).buffer_unordered(16);
        let answers: Vec<Vec<IpAddr>> = answers.try_collect().await?;
        asked += answers.len();
        let missing = |addresses: &&Vec<IpAddr>| {
            addresses.iter().any(|address| !stood.iter().any(|network| network.contains(address)))
        };
        closed += answers.iter().filter(missing).count();
        sleep(Duration::from_millis(400)).await;
    }
    let from = HashMap::from([(name.to_owned(), declared.at)]);
    let mut side = meter.end(Some(&place.operator), &from, &open).await?;
    side.more.insert("asked_by_pods", asked as f64);
    place.close().await?;
    let title = format!(
        "a name with a TTL of {ROTATION_TTL} s rotates over {ROTATION} addresses; after a minute pods ask for it"
    );
    let mut outcome = Outcome::of(&title, side, None);
    outcome.goals.push(Goal::at_most("answers with an address that was not open", 0.0, f64::from(closed as u32)));
    Ok(outcome)
}

/// (k): many namespaces with the same names.
///
/// # Errors
///
/// Something does not work.
pub async fn steady(bench: &Bench) -> Result<Outcome> {
    let place = Place::open(bench).await?;
    let hosts: Vec<String> = (0..NAMES).map(|at| format!("s{at}.names.example")).collect();
    for (at, host) in hosts.iter().enumerate() {
        place.dns.answer(host, &[&format!("198.51.100.{}", at + 1)], STEADY_TTL)?;
    }
    place.publish(vec![rule("all", &hosts)]).await?;
    let names = names(bench.scaled(1000));
    let mut watch = place.site.watch_policy("cloister-allow.names.all").await?;
    let from = declare_all(&place.site, &names, |_| ()).await?;
    let until = watch.all(names.iter().cloned().collect(), PATIENCE, |sighting| Some(sighting.place.clone())).await?;
    place.site.until_quiet(&place.operator).await?;
    sleep(CALM).await;

    let meter = Meter::begin(&place.site, Some(&place.operator))?;
    let asked = || hosts.iter().map(|host| place.dns.asked(host)).collect::<Result<Vec<u32>>>();
    let (before, began) = (asked()?, Instant::now());
    sleep(Duration::from_secs(60)).await;
    let (after, seconds) = (asked()?, began.elapsed().as_secs_f64());
    let most = before.iter().zip(&after).map(|(before, after)| after - before).max().context("there are no names")?;
    ensure!(most > 0, "nothing was looked up");
    let writes = meter.writes()?.total();
    let mut side = meter.end(Some(&place.operator), &from, &until).await?;
    let per_ttl = f64::from(most) * f64::from(STEADY_TTL) / seconds;
    side.more.insert("most_look_ups_of_a_name_per_TTL", per_ttl);
    place.close().await?;
    let title = format!("{} namespaces with {NAMES} names each, a minute of the same answers", names.len());
    let mut outcome = Outcome::of(&title, side, None);
    // One more may fall into the minute at either end.
    let limit = 1.0 + f64::from(STEADY_TTL) / 60.0;
    outcome.goals.push(Goal::at_most("look-ups of a name per TTL, for the whole cluster", limit, per_ttl));
    outcome.goals.push(Goal::at_most("writes while answers repeat", 0.0, writes as f64));
    Ok(outcome)
}

/// A pod's resolver.
fn resolver(dns: &DnsServer) -> Result<TokioResolver> {
    let mut connection = ConnectionConfig::udp();
    connection.port = dns.address().port();
    let mut server = NameServerConfig::udp(dns.address().ip());
    server.connections = vec![connection];
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.options_mut().cache_size = 0;
    Ok(builder.build()?)
}

async fn ask(resolver: &TokioResolver, host: &str) -> Result<Vec<IpAddr>> {
    let answer = resolver.lookup(format!("{host}."), RecordType::A).await?;
    Ok(answer.answers().iter().filter_map(|record| record.data.ip_addr()).collect())
}

fn networks(policy: &NetworkPolicy) -> Result<Vec<IpNet>> {
    let rules = policy.spec.iter().flat_map(|spec| spec.egress.iter().flatten());
    let blocks = rules.flat_map(|rule| rule.to.iter().flatten()).filter_map(|peer| peer.ip_block.as_ref());
    blocks.map(|block| block.cidr.parse().context("a policy with a network that is none")).collect()
}
