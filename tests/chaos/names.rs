//! An allowlist that gains names while many use it.

use crate::stage::{CONVERGED, Stage};
use anyhow::{Context, Result, ensure};
use cloister_api::{EgressState, ResearchNamespace};
use cloister_tests::eventually;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use std::time::{Duration, Instant};
use xtask::dns::DnsServer;

/// How often the allowlist is edited.
const EDITS: usize = 12;

#[tokio::test]
async fn a_name_that_is_new_in_an_allowlist_is_open_for_all_who_use_it() -> Result<()> {
    let dns = tokio::task::spawn_blocking(DnsServer::start).await??;
    let mut stage = Stage::start("chaos-names", &[]).await?;
    let settings = json!({
        "dns": {"servers": [dns.address().to_string()], "resolution": {"minimumTTL": "1s", "grace": "6s", "stale": "15s"}},
    });
    stage.make("CloisterConfig", None, "cloister", settings).await?;
    for at in 0..9 {
        stage.declare(&format!("uses-{at}")).await?;
    }
    let host = |edit: usize| format!("host-{edit}.example.com");
    let rules = |edit: usize| {
        let names: Vec<String> = (0..=edit).map(host).collect();
        json!([{"name": "r", "domainNames": names, "ports": [{"port": 443}]}])
    };
    let mut slowest = Duration::ZERO;
    let all: Api<ResearchNamespace> = Api::all(stage.bare.admin.clone());
    for edit in 0..EDITS {
        dns.answer(&host(edit), &[&format!("198.51.100.{}", edit + 1)], 60)?;
        let edited = Instant::now();
        if edit == 0 {
            let spec = json!({"namespaceSelector": {}, "attach": "Always", "rules": rules(edit)});
            stage.make("EgressAllowlist", None, "names", spec).await?;
        } else {
            let patch = Patch::Merge(json!({"spec": {"rules": rules(edit)}}));
            stage.api("EgressAllowlist", None).patch("names", &PatchParams::default(), &patch).await?;
        }
        eventually(&format!("{} to be open everywhere", host(edit)), async || {
            for research in all.list(&ListParams::default()).await? {
                let needs = research.status.unwrap_or_default().egress;
                let need = needs.into_iter().find(|need| need.name == "allowlist/names").context("nothing is said")?;
                ensure!(need.state == EgressState::Active, "it is {:?}: {}", need.state, need.reason);
                ensure!(need.hosts.iter().any(|known| known.name == host(edit)), "the name is not known");
            }
            Ok(())
        })
        .await?;
        slowest = slowest.max(edited.elapsed());
    }
    println!(
        "{EDITS} names into an allowlist that 10 use: each open everywhere, the slowest after {:.1} s",
        slowest.as_secs_f64()
    );
    ensure!(slowest <= CONVERGED, "a name was open everywhere only after {slowest:?}");
    stage.converged().await?;
    stage.give_back().await
}
