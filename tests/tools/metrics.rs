//! Metrics are what their Content-Type says, and what Prometheus reads of them.

use crate::stage::{lines, stage, tool};
use anyhow::{Context, Result, ensure};
use cloister_tests::world::address;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Deserialize)]
struct Scraped {
    types: BTreeMap<String, String>,
    helps: BTreeMap<String, String>,
    series: Vec<String>,
}

/// Asks as a scraper does: the Content-Type, and the page.
async fn scrape(address: std::net::SocketAddr, accept: &str) -> Result<(String, String)> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let found = head.lines().find(|line| line.to_lowercase().starts_with("content-type:"));
    let content_type = found.and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned());
    Ok((content_type.context("no Content-Type")?, body.to_owned()))
}

/// The page as Prometheus reads it.
fn parsed(content_type: &str, page: &str) -> Result<Scraped> {
    let printed = tool(&["textparse", content_type], page)?;
    ensure!(printed.success, "{content_type}: {}\n{page}", printed.text);
    lines(&printed.text)?.pop().context("nothing was read")
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_both_formats() -> Result<()> {
    // Something to count.
    stage().await;
    let address = address().await;
    let (plain_type, plain) = scrape(address, "*/*").await?;
    ensure!(plain_type == "text/plain; version=0.0.4; charset=utf-8", "{plain_type}");
    let problems: Vec<Value> = lines(&tool(&["promlint"], &plain)?.text)?;
    ensure!(problems.is_empty(), "{problems:?}");
    let text = parsed(&plain_type, &plain)?;

    let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let (open_type, page) = scrape(address, prometheus).await?;
    ensure!(open_type == "application/openmetrics-text; version=1.0.0; charset=utf-8", "{open_type}");
    let open = parsed(&open_type, &page)?;

    for (name, type_) in &text.types {
        ensure!(["counter", "gauge", "histogram"].contains(&type_.as_str()), "{name} is a {type_}");
        ensure!(text.helps.get(name).is_some_and(|help| help.len() > 5), "{name} has no help");
        let family = name.strip_suffix("_total").filter(|_| type_ == "counter").unwrap_or(name);
        ensure!(
            open.types.get(family) == Some(type_),
            "{name} is a {type_}, and in OpenMetrics {:?}",
            open.types.get(family)
        );
        ensure!(open.helps.get(family) == text.helps.get(name), "{name} has another help");
    }
    ensure!(text.types.get("cloister_writes_total").is_some_and(|type_| type_ == "counter"), "{plain}");
    ensure!(
        text.types.len() == open.types.len() && text.types.len() > 10,
        "{} and {}",
        text.types.len(),
        open.types.len()
    );
    let names = |page: &Scraped| page.series.iter().filter(|series| series.contains("cloister_grants")).count();
    ensure!(names(&text) == names(&open) && names(&open) > 0, "{:?}", open.series);
    Ok(())
}
