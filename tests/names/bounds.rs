//! Servers and names that misbehave.

use crate::place::Place;
use anyhow::Result;
use cloister_api::EgressState;
use serde_json::json;

#[tokio::test]
async fn an_answer_that_does_not_fit_is_asked_for_again_by_tcp() -> Result<()> {
    let place = Place::new("large").await?;
    let host = place.host("www");
    place.dns.set(&host, json!({"addresses": ["198.51.100.1"], "ttl": 5, "truncate": true}))?;
    place.open(json!({"domainNames": [host]})).await?;
    place.until_open(&["198.51.100.1/32"]).await
}

#[tokio::test]
async fn a_name_with_thousands_of_addresses_stays_closed() -> Result<()> {
    let place = Place::new("many").await?;
    let host = place.host("www");
    let all: Vec<String> =
        (0..4000).map(|at| format!("198.{}.{}.{}", 20 + at / 2000, at / 250, at % 250 + 1)).collect();
    place.dns.set(&host, json!({"addresses": all, "ttl": 5}))?;
    place.open(json!({"domainNames": [host]})).await?;
    place.until_said(EgressState::Unresolved, "TooManyAddresses").await?;
    assert!(place.networks().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn aliases_that_lead_in_a_circle_stay_closed() -> Result<()> {
    let place = Place::new("circle").await?;
    let (one, other) = (place.host("one"), place.host("other"));
    place.dns.set(&one, json!({"alias": other, "ttl": 5}))?;
    place.dns.set(&other, json!({"alias": one, "ttl": 5}))?;
    place.open(json!({"domainNames": [one]})).await?;
    let need = place.until_said(EgressState::Unresolved, "NoAddress").await?;
    assert!(place.networks().await?.is_empty(), "{need:?}");
    Ok(())
}

#[tokio::test]
async fn a_slow_server_is_waited_for_and_holds_up_no_other_name() -> Result<()> {
    let place = Place::new("slow").await?;
    let (slow, quick) = (place.host("slow"), place.host("quick"));
    place.dns.set(&slow, json!({"addresses": ["198.51.100.1"], "ttl": 60, "delayMilliseconds": 1500}))?;
    place.dns.answer(&quick, &["198.51.100.2"], 60)?;
    place.open(json!({"domainNames": [slow, quick]})).await?;
    place.until_open(&["198.51.100.1/32", "198.51.100.2/32"]).await
}
