//! What a restart, and answers that say nothing new, must not do.

use crate::place::settings;
use anyhow::{Context, Result, ensure};
use cloister_api::{AccessPolicy, CloisterConfig, EgressAllowlist, EgressGrant, EgressState, ResearchNamespace};
use cloister_tests::{bare::Bare, eventually};
use k8s_openapi::api::{authentication::v1::SelfSubjectReview, networking::v1::NetworkPolicy};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, PostParams},
};
use serde_json::json;
use xtask::dns::DnsServer;

#[tokio::test]
async fn what_is_open_stays_so_over_a_restart_and_repeated_answers_write_nothing() -> Result<()> {
    let dns = tokio::task::spawn_blocking(DnsServer::start).await??;
    // One of four at a time: no single answer after a restart has them all.
    let all = ["198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4"];
    for name in ["www.example.com", "granted.example.org"] {
        dns.set(name, json!({"addresses": all, "ttl": 2, "atATime": 1}))?;
    }
    let bare = Bare::start("names-restart").await?;
    let operator = bare.operator().await?;
    let config: CloisterConfig = serde_json::from_value(settings(&dns))?;
    Api::all(bare.admin.clone()).create(&PostParams::default(), &config).await?;
    let rule = json!({"name": "r", "domainNames": ["www.example.com"], "ports": [{"port": 443}]});
    let allowlist: EgressAllowlist = serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "EgressAllowlist", "metadata": {"name": "www"},
        "spec": {"namespaceSelector": {}, "attach": "Always", "rules": [rule]},
    }))?;
    Api::all(bare.admin.clone()).create(&PostParams::default(), &allowlist).await?;
    let research: ResearchNamespace = serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace", "metadata": {"name": "interp"},
        "spec": {"tier": "Standard"},
    }))?;
    let declared: Api<ResearchNamespace> = Api::all(bare.admin.clone());
    declared.create(&PostParams::default(), &research).await?;
    let policies: Api<NetworkPolicy> = Api::namespaced(bare.admin.clone(), "interp");
    let grants = grant(&bare).await?;
    let open = async |name: &str| {
        let policy = policies.get(name).await?;
        let rules = policy.spec.context("a spec")?.egress.unwrap_or_default();
        let open = rules.iter().flat_map(|rule| rule.to.iter().flatten()).count();
        // .2 and .3 are one network.
        ensure!(open == 3, "{open} networks are open");
        anyhow::Ok(policy.metadata.resource_version)
    };
    let version = eventually("all four to be open", async || {
        let versions = (open("cloister-allow.www.r").await?, open("cloister-egress-grant.granted").await?);
        let status = grants.get("granted").await?.status.unwrap_or_default();
        ensure!(status.hosts.first().is_some_and(|host| host.count == 4), "{:?}", status.hosts);
        let status = declared.get("interp").await?.status.unwrap_or_default();
        let need = status.egress.first().context("nothing is said")?;
        ensure!(
            need.state == EgressState::Active && need.hosts.first().is_some_and(|host| host.count == 4),
            "{need:?}"
        );
        Ok(versions)
    })
    .await?;

    let asked = dns.asked("www.example.com")?;
    let before = bare.writes()?.len();
    eventually("more answers of the same", async || {
        ensure!(dns.asked("www.example.com")? >= asked + 5, "not yet");
        Ok(())
    })
    .await?;
    let writes = bare.writes()?;
    assert_eq!(&writes[before..], &Vec::<String>::new()[..], "answers that say nothing new are written");

    operator.stop().await?;
    let asked = dns.asked("www.example.com")?;
    let operator = bare.operator().await?;
    eventually("answers after the restart", async || {
        ensure!(dns.asked("www.example.com")? >= asked + 3, "not yet");
        Ok(())
    })
    .await?;
    let now = (open("cloister-allow.www.r").await?, open("cloister-egress-grant.granted").await?);
    assert_eq!(now, version, "{:?}", bare.writes()?);
    operator.stop().await?;
    Ok(())
}

/// Asks for a name by an EgressGrant, which the policy gives.
async fn grant(bare: &Bare) -> Result<Api<EgressGrant>> {
    let admin = || bare.admin.clone();
    let review = Api::<SelfSubjectReview>::all(admin()).create(&PostParams::default(), &Default::default()).await?;
    let me = review.status.and_then(|status| status.user_info?.username).context("nobody")?;
    let policy: AccessPolicy = serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "AccessPolicy", "metadata": {"name": "egress"},
        "spec": {"requesters": [{"kind": "User", "name": me}], "maxDuration": "8h", "autoApprove": ["true"]},
    }))?;
    Api::all(admin()).create(&PostParams::default(), &policy).await?;
    let grants: Api<EgressGrant> = Api::namespaced(admin(), "interp");
    let rule = json!({"name": "granted", "domainNames": ["granted.example.org"], "ports": [{"port": 443}]});
    let grant = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "EgressGrant", "metadata": {"name": "granted"},
        "spec": {"rule": rule, "requestedDuration": "1h", "justification": "a test"},
    });
    // The requester is written by the API server.
    let dynamic: Api<DynamicObject> = Api::namespaced_with(admin(), "interp", &ApiResource::erase::<EgressGrant>(&()));
    eventually("the grant to be taken", async || {
        Ok(dynamic.create(&PostParams::default(), &serde_json::from_value(grant.clone())?).await?)
    })
    .await?;
    Ok(grants)
}
