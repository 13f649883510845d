//! What is answered, and what is open.

use crate::place::{GRACE_SECONDS, Place, STALE_SECONDS};
use anyhow::{Result, ensure};
use cloister_api::{EgressState, Enforcement, ResearchNamespace};
use cloister_tests::{eventually, scene::condition};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use serde_json::json;

#[tokio::test]
async fn a_name_opens_at_its_addresses_of_both_families() -> Result<()> {
    let place = Place::new("both").await?;
    let (host, alias, end) = (place.host("www"), place.host("alias"), place.host("end"));
    place.dns.set(&host, json!({"alias": alias, "ttl": 300}))?;
    place.dns.set(&alias, json!({"alias": end, "ttl": 7}))?;
    place.dns.answer(&end, &["198.51.100.7", "2001:db8::7"], 60)?;
    place.open(json!({"domainNames": [host]})).await?;
    place.until_open(&["198.51.100.7/32", "2001:db8::7/128"]).await?;
    let need = place.until_said(EgressState::Active, "").await?;
    assert_eq!(need.enforcement, Some(Enforcement::AddressSet));
    let known = place.known(&host).await?;
    assert_eq!((known.addresses.len(), known.count, known.reason.as_str()), (2, 2, ""));
    assert_eq!(known.ttl_seconds, Some(7), "the shortest of the chain");
    assert!(known.looked_up_at.is_some());
    let api = place.scene.all::<ResearchNamespace>();
    place.scene.until_condition(&api, &place.name, "ResolutionStable", "True").await?;
    Ok(())
}

#[tokio::test]
async fn a_changed_answer_is_followed_and_the_old_one_ends() -> Result<()> {
    let place = Place::new("changed").await?;
    let host = place.host("www");
    place.dns.answer(&host, &["198.51.100.1"], 2)?;
    place.open(json!({"domainNames": [host]})).await?;
    place.until_open(&["198.51.100.1/32"]).await?;
    place.dns.answer(&host, &["198.51.100.9"], 2)?;
    let changed = Timestamp::now();
    place.until_open(&["198.51.100.1/32", "198.51.100.9/32"]).await?;
    place.until_open(&["198.51.100.9/32"]).await?;
    let took = Timestamp::now().duration_since(changed);
    assert!(took >= SignedDuration::from_secs(GRACE_SECONDS - 1), "the old address went after {took:#}");
    Ok(())
}

#[tokio::test]
async fn what_was_answered_last_counts_while_nobody_answers() -> Result<()> {
    let place = Place::new("failing").await?;
    let host = place.host("www");
    place.dns.answer(&host, &["198.51.100.1"], 1)?;
    place.open(json!({"domainNames": [host]})).await?;
    place.until_open(&["198.51.100.1/32"]).await?;
    place.dns.set(&host, json!({"rcode": "SERVFAIL"}))?;
    let failed = Timestamp::now();
    let need = place.until_said(EgressState::Unresolved, "DNSUnanswered").await?;
    assert!(need.message.contains("no DNS server answers"), "{}", need.message);
    let took = Timestamp::now().duration_since(failed);
    assert!(took >= SignedDuration::from_secs(STALE_SECONDS - 1), "it closed after {took:#}");
    assert!(place.networks().await?.is_empty());
    place.dns.answer(&host, &["198.51.100.2"], 1)?;
    place.until_open(&["198.51.100.2/32"]).await
}

#[tokio::test]
async fn a_name_that_is_gone_closes_after_the_grace() -> Result<()> {
    let place = Place::new("gone").await?;
    let host = place.host("www");
    place.dns.answer(&host, &["198.51.100.1"], 1)?;
    place.open(json!({"domainNames": [host]})).await?;
    place.until_open(&["198.51.100.1/32"]).await?;
    place.dns.set(&host, json!({"rcode": "NXDOMAIN"}))?;
    let gone = Timestamp::now();
    place.until_said(EgressState::Unresolved, "NoAddress").await?;
    let took = Timestamp::now().duration_since(gone);
    assert!(took >= SignedDuration::from_secs(GRACE_SECONDS - 1), "it closed after {took:#}");
    assert!(place.networks().await?.is_empty());
    let object = place.scene.all::<ResearchNamespace>().get(&place.name).await?;
    assert_eq!(condition(&object, "Ready").unwrap().status, "True", "a tool that waits must not hang");
    Ok(())
}

#[tokio::test]
async fn a_public_name_that_leads_inside_is_closed_at_once_and_raises_an_alarm() -> Result<()> {
    let place = Place::new("rebound").await?;
    let host = place.host("www");
    place.dns.answer(&host, &["198.51.100.1"], 1)?;
    place.open(json!({"domainNames": [host]})).await?;
    place.until_open(&["198.51.100.1/32"]).await?;
    // One bad address is enough: 203.0.113.0/28 is the cluster's own here.
    place.dns.answer(&host, &["198.51.100.1", "203.0.113.5"], 1)?;
    let need = place.until_said(EgressState::Unresolved, "Rebinding").await?;
    assert!(need.message.contains("203.0.113.5") && place.networks().await?.is_empty(), "{}", need.message);
    told_of(&place, &host).await?;
    place.dns.answer(&host, &["198.51.100.3"], 1)?;
    place.until_open(&["198.51.100.3/32"]).await
}

#[tokio::test]
async fn a_family_that_leads_inside_is_closed_and_told_of_and_the_other_stays_open() -> Result<()> {
    let place = Place::new("family").await?;
    let host = place.host("www");
    place.dns.answer(&host, &["198.51.100.1", "2001:db8::1"], 1)?;
    place.open(json!({"domainNames": [host]})).await?;
    place.until_open(&["198.51.100.1/32", "2001:db8::1/128"]).await?;
    place.dns.answer(&host, &["198.51.100.1", "fd00::1"], 1)?;
    let need = place.until_said(EgressState::Unresolved, "Rebinding").await?;
    assert!(need.message.contains("its IPv6 addresses are closed: fd00::1"), "{}", need.message);
    place.until_open(&["198.51.100.1/32"]).await?;
    told_of(&place, &host).await?;
    place.dns.answer(&host, &["198.51.100.1", "2001:db8::2"], 1)?;
    place.until_open(&["198.51.100.1/32", "2001:db8::2/128"]).await?;
    place.until_said(EgressState::Active, "").await?;
    Ok(())
}

#[tokio::test]
async fn each_name_that_leads_inside_is_an_event_of_its_own() -> Result<()> {
    let place = Place::new("several").await?;
    let hosts = [place.host("a"), place.host("b")];
    for host in &hosts {
        place.dns.answer(host, &["198.51.100.1"], 1)?;
    }
    place.open(json!({"domainNames": hosts})).await?;
    place.until_open(&["198.51.100.1/32"]).await?;
    for host in &hosts {
        place.dns.answer(host, &["203.0.113.5"], 1)?;
        told_of(&place, host).await?;
    }
    Ok(())
}

/// Waits until there is an Event about a name that leads where it must not.
async fn told_of(place: &Place, host: &str) -> Result<()> {
    eventually(&format!("an Event about {host}"), async || {
        let events = place.scene.within::<Event>("default").list(&ListParams::default()).await?;
        let told = events.iter().find(|event| {
            let about = event.regarding.as_ref().and_then(|about| about.name.as_deref());
            let is_of_name = event.note.as_deref().is_some_and(|note| note.contains(host));
            about == Some("cloister") && is_of_name && event.reason.as_deref() == Some("Rebinding")
        });
        ensure!(told.is_some_and(|event| event.type_.as_deref() == Some("Warning")), "there is none");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_private_endpoint_that_falls_back_to_a_public_address_closes() -> Result<()> {
    let place = Place::new("private").await?;
    let host = place.host("blob");
    place.dns.answer(&host, &["10.40.1.2"], 1)?;
    place.open(json!({"privateEndpoint": {"domainName": host, "expectedNetworks": ["10.40.0.0/16"]}})).await?;
    place.until_open(&["10.40.1.2/32"]).await?;
    place.dns.answer(&host, &["198.51.100.1"], 1)?;
    let need = place.until_said(EgressState::Unresolved, "OutsideExpectedNetworks").await?;
    assert!(need.message.contains("198.51.100.1") && place.networks().await?.is_empty(), "{}", need.message);
    place.dns.answer(&host, &["10.40.1.3"], 1)?;
    place.until_open(&["10.40.1.3/32"]).await
}

#[tokio::test]
async fn a_private_endpoint_behind_dns64_opens_at_both_addresses_and_raises_no_alarm() -> Result<()> {
    let place = Place::new("dns64").await?;
    let host = place.host("blob");
    place.dns.answer(&host, &["10.40.1.1", "64:ff9b::a28:101"], 1)?;
    place.open(json!({"privateEndpoint": {"domainName": host, "expectedNetworks": ["10.40.0.0/16"]}})).await?;
    place.until_open(&["10.40.1.1/32", "64:ff9b::a28:101/128"]).await?;
    place.until_said(EgressState::Active, "").await?;
    // One that stands for an address elsewhere is none of it.
    place.dns.answer(&host, &["10.40.1.1", "64:ff9b::a29:101"], 1)?;
    let need = place.until_said(EgressState::Unresolved, "OutsideExpectedNetworks").await?;
    assert!(need.message.contains("64:ff9b::a29:101 is outside expectedNetworks"), "{}", need.message);
    place.until_open(&["10.40.1.1/32"]).await
}

#[tokio::test]
async fn a_name_of_a_service_in_a_domain_of_the_clusters_own_is_closed_without_an_alarm() -> Result<()> {
    let place = Place::new("domain").await?;
    let (service, other) = (format!("cache.infra.svc.{}.example", place.name), place.host("www"));
    // 203.0.113.0/28 is the cluster's own here.
    place.dns.answer(&service, &["203.0.113.5"], 1)?;
    place.dns.answer(&other, &["198.51.100.1"], 1)?;
    place.open(json!({"domainNames": [service, other]})).await?;
    let need = place.until_said(EgressState::Unresolved, "NameInCluster").await?;
    assert!(need.message.contains("name its Service"), "{}", need.message);
    place.until_open(&["198.51.100.1/32"]).await?;
    // An alarm that is raised later is there, and one about the Service is not.
    place.dns.answer(&other, &["203.0.113.5"], 1)?;
    told_of(&place, &other).await?;
    let events = place.scene.within::<Event>("default").list(&ListParams::default()).await?;
    let told = events.iter().find(|event| event.note.as_deref().is_some_and(|note| note.contains(&service)));
    ensure!(told.is_none_or(|event| event.reason.as_deref() != Some("Rebinding")), "{told:?}");
    Ok(())
}
