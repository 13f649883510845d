//! What is open by a name when the networks that are never opened change, before the name is looked up again.

use crate::place::Place;
use anyhow::{Result, ensure};
use cloister_api::EgressState;
use cloister_tests::eventually;
use serde_json::json;
use std::net::Ipv4Addr;
use xtask::dns::DnsServer;

#[tokio::test]
async fn a_name_of_which_one_address_is_never_opened_closes_as_a_whole_at_once() -> Result<()> {
    const TTL: u32 = 60;
    let place = Place::new("kept").await?;
    let host = format!("vpce.{}.example", place.name);
    let dns = tokio::task::spawn_blocking(|| DnsServer::start_at(Ipv4Addr::LOCALHOST)).await??;
    dns.answer(&host, &["10.20.31.14", "10.20.47.9", "10.20.60.201"], TTL)?;
    let configure = async |networks: &[&str]| {
        let spec = json!({"dns": {"servers": [dns.address().to_string()]}, "egress": {"backend": "NetworkPolicy"}, "clusterNetworks": networks});
        place.configure(spec).await
    };
    let until_open = async |networks: &[&str]| {
        eventually(&format!("{networks:?} to be open"), async || {
            let open = place.scene.networks(&place.name, &place.policy("s3")).await?;
            ensure!(open == networks, "open is {open:?}");
            Ok(())
        })
        .await
    };
    let all = ["10.20.31.14/32", "10.20.47.9/32", "10.20.60.201/32"];
    configure(&["203.0.113.0/28"]).await?;
    let endpoint = json!({"domainName": host, "expectedNetworks": ["10.20.0.0/16"]});
    place.open(json!([{"name": "s3", "privateEndpoint": endpoint, "ports": [{"port": 443}]}])).await?;
    until_open(&all).await?;
    // It is asked a second time at once, and then when the answer has run out.
    eventually("the second look-up", async || {
        let asked = dns.asked(&host)?;
        ensure!(asked == 2, "it was asked {asked} times");
        Ok(())
    })
    .await?;

    configure(&["203.0.113.0/28", "10.20.32.0/19"]).await?;
    let need = place.until_said(EgressState::Unresolved, "Rebinding").await?;
    ensure!(need.message.contains("10.20.47.9 is never opened"), "{}", need.message);
    until_open(&[]).await?;
    configure(&["203.0.113.0/28"]).await?;
    place.until_said(EgressState::Active, "").await?;
    until_open(&all).await?;
    ensure!(dns.asked(&host)? == 2, "that was a look-up");
    Ok(())
}
