//! Several DNS servers: the cluster's own, found by their endpoints, and servers that disagree, lie, or are gone.

use crate::place::Place;
use anyhow::{Context, Result, ensure};
use cloister_api::{CloisterConfig, EgressState};
use cloister_tests::{eventually, scene::condition};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use xtask::dns::DnsServer;

async fn server(host: Ipv4Addr) -> Result<DnsServer> {
    tokio::task::spawn_blocking(move || DnsServer::start_at(host)).await?
}

/// An address of this machine that is not on loopback, because the API server takes no such endpoint. Nothing is sent.
fn own_address() -> Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).context("this machine has no address but loopback")?;
    match socket.local_addr()? {
        SocketAddr::V4(address) => Ok(*address.ip()),
        SocketAddr::V6(_) => anyhow::bail!("not IPv4"),
    }
}

impl Place {
    /// Has names asked of these servers.
    async fn ask(&self, servers: &[SocketAddr]) -> Result<()> {
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        self.resolve(json!({"servers": servers})).await
    }

    async fn resolve(&self, mut dns: Value) -> Result<()> {
        dns["resolution"] = json!({"minimumTTL": "1s", "grace": "3s", "stale": "6s"});
        self.configure(json!({"dns": dns, "egress": {"backend": "NetworkPolicy"}})).await
    }

    async fn open_host(&self, host: &str) -> Result<()> {
        self.open(json!([{"name": "host", "domainNames": [host], "ports": [{"port": 443}]}])).await
    }

    async fn until_open(&self, networks: &[&str]) -> Result<()> {
        let policy = self.policy("host");
        eventually(&format!("{networks:?} to be open"), async || {
            let open = self.scene.networks(&self.name, &policy).await?;
            ensure!(open == networks, "open is {open:?}");
            Ok(())
        })
        .await
    }
}

#[tokio::test]
async fn the_endpoints_of_the_clusters_own_dns_are_asked() -> Result<()> {
    let place = Place::new("endpoints").await?;
    let host = format!("www.{}.example", place.name);
    let (one, other) = (server(own_address()?).await?, server(own_address()?).await?);
    one.answer(&host, &["198.51.100.1"], 2)?;
    other.answer(&host, &["198.51.100.2"], 2)?;
    place.resolve(json!({"namespace": "kube-system", "service": place.name})).await?;
    place.open_host(&host).await?;
    let need = place.until_said(EgressState::Unresolved, "DNSUnanswered").await?;
    assert!(need.message.contains("no DNS server"), "{}", need.message);

    let slices: Api<EndpointSlice> = place.scene.within("kube-system");
    for (name, server) in [("one", &one), ("other", &other)] {
        let slice = json!({
            "metadata": {"name": format!("{}-{name}", place.name), "labels": {"kubernetes.io/service-name": place.name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [server.address().ip()], "conditions": {"ready": true}}],
            "ports": [{"name": "dns", "protocol": "UDP", "port": server.address().port()}],
        });
        slices.create(&PostParams::default(), &serde_json::from_value(slice)?).await?;
    }
    place.until_open(&["198.51.100.1/32", "198.51.100.2/32"]).await?;
    // What a server that is gone knew ends with its answers.
    slices.delete(&format!("{}-one", place.name), &DeleteParams::default()).await?;
    place.until_open(&["198.51.100.2/32"]).await?;
    slices.delete(&format!("{}-other", place.name), &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_down_holds_up_no_name() -> Result<()> {
    let place = Place::new("down").await?;
    let host = format!("www.{}.example", place.name);
    let up = server(Ipv4Addr::LOCALHOST).await?;
    up.answer(&host, &["198.51.100.1"], 2)?;
    let gone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    place.ask(&[gone, up.address()]).await?;
    place.open_host(&host).await?;
    place.until_open(&["198.51.100.1/32"]).await?;
    place.until_said(EgressState::Active, "").await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_does_not_know_a_name_takes_nothing_away() -> Result<()> {
    let place = Place::new("unknowing").await?;
    let host = format!("www.{}.example", place.name);
    let (knows, does_not) = (server(Ipv4Addr::LOCALHOST).await?, server(Ipv4Addr::LOCALHOST).await?);
    knows.answer(&host, &["198.51.100.1"], 1)?;
    does_not.set(&host, json!({"rcode": "NXDOMAIN"}))?;
    place.ask(&[does_not.address(), knows.address()]).await?;
    place.open_host(&host).await?;
    place.until_open(&["198.51.100.1/32"]).await?;
    // Several look-ups later it is open still.
    eventually("some look-ups", async || {
        ensure!(does_not.asked(&host)? >= 4, "asked {} times", does_not.asked(&host)?);
        Ok(())
    })
    .await?;
    place.until_open(&["198.51.100.1/32"]).await
}

#[tokio::test]
async fn one_server_that_lies_closes_a_name() -> Result<()> {
    let place = Place::new("lying").await?;
    let host = format!("www.{}.example", place.name);
    let (honest, liar) = (server(Ipv4Addr::LOCALHOST).await?, server(Ipv4Addr::LOCALHOST).await?);
    honest.answer(&host, &["198.51.100.1"], 1)?;
    liar.answer(&host, &["198.51.100.1"], 1)?;
    place.ask(&[honest.address(), liar.address()]).await?;
    place.open_host(&host).await?;
    place.until_open(&["198.51.100.1/32"]).await?;
    liar.answer(&host, &["169.254.169.254"], 1)?;
    let need = place.until_said(EgressState::Unresolved, "Rebinding").await?;
    assert!(need.message.contains("169.254.169.254 is never opened"), "{}", need.message);
    place.until_open(&[]).await?;
    // It opens again once nobody says so.
    liar.answer(&host, &["198.51.100.1"], 1)?;
    place.until_open(&["198.51.100.1/32"]).await
}

#[tokio::test]
async fn servers_that_do_not_answer_are_told_until_they_do() -> Result<()> {
    let place = Place::new("silent").await?;
    let host = format!("www.{}.example", place.name);
    // Nobody listens there.
    let gone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    place.ask(&[gone]).await?;
    place.open_host(&host).await?;
    let said = async |words: &str, is_said: bool| {
        eventually(&format!("{words} to be said: {is_said}"), async || {
            let config = place.scene.all::<CloisterConfig>().get("cloister").await?;
            let reachable = condition(&config, "DNSReachable").context("nothing is said")?;
            ensure!(reachable.message.contains(words) == is_said, "{}", reachable.message);
            Ok(())
        })
        .await
    };
    said(&format!("the operator has no answer from {gone}"), true).await?;
    let alive = server(Ipv4Addr::LOCALHOST).await?;
    alive.answer(&host, &["198.51.100.1"], 2)?;
    place.ask(&[alive.address()]).await?;
    place.until_open(&["198.51.100.1/32"]).await?;
    said("the operator has no answer", false).await?;
    place.choose("Auto").await
}
