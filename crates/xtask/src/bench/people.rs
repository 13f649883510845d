//! Those who declare: ResearchNamespaces are created as fast as the API server takes them, or one by one.

use super::{fixture, site::Site};
use anyhow::Result;
use cloister_api::ResearchNamespace;
use futures::{StreamExt, TryStreamExt, stream};
use kube::{Api, Client, api::PostParams};
use std::{collections::HashMap, time::Instant};

/// How many requests people make at a time.
pub const PEOPLE: usize = 32;

/// The names of so many namespaces.
pub fn names(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("lab-{at:04}")).collect()
}

/// A namespace that was declared.
pub struct Declared {
    /// It, as the API server answered.
    pub object: ResearchNamespace,
    /// When it answered.
    pub at: Instant,
}

/// Declares one namespace.
///
/// # Errors
///
/// The API server refuses it.
pub async fn declare(client: &Client, name: &str) -> Result<Declared> {
    let api: Api<ResearchNamespace> = Api::all(client.clone());
    let object = api.create(&PostParams::default(), &fixture::namespace(name)?).await?;
    Ok(Declared { object, at: Instant::now() })
}

/// Declares namespaces, many at a time, and says when each was declared. Each is handed on at once.
///
/// # Errors
///
/// The API server refuses one.
pub async fn declare_all(
    site: &Site,
    names: &[String],
    mut then: impl FnMut(ResearchNamespace),
) -> Result<HashMap<String, Instant>> {
    let requests = stream::iter(names).map(|name| async {
        let declared = declare(&site.admin, name).await?;
        anyhow::Ok((name.clone(), declared))
    });
    let mut requests = requests.buffer_unordered(PEOPLE);
    let mut at = HashMap::with_capacity(names.len());
    while let Some((name, declared)) = requests.try_next().await? {
        at.insert(name, declared.at);
        then(declared.object);
    }
    Ok(at)
}
