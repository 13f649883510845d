//! Kubeconfigs that stand alone: no path in them, so that they can be given away.

use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine};
use kube::config::{AuthInfo, Cluster, Context, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};

use super::certificate::Identity;
use super::{Error, Result};

pub(super) fn read(path: &Path) -> Result<Kubeconfig> {
    Kubeconfig::read_from(path)
        .map_err(|source| Error::Kubeconfig { of: path.display().to_string(), source: Box::new(source) })
}

pub(super) fn of_certificate(admin: &Kubeconfig, user: &str, identity: &Identity) -> Result<Kubeconfig> {
    let auth = AuthInfo {
        client_certificate_data: Some(BASE64_STANDARD.encode(&identity.certificate)),
        client_key_data: Some(BASE64_STANDARD.encode(&identity.key).into()),
        ..Default::default()
    };
    with(admin, user, auth, None)
}

pub(super) fn of_token(admin: &Kubeconfig, user: &str, namespace: Option<&str>, token: String) -> Result<Kubeconfig> {
    let auth = AuthInfo { token: Some(token.into()), ..Default::default() };
    with(admin, user, auth, namespace.map(str::to_owned))
}

/// The same cluster, for another user.
fn with(admin: &Kubeconfig, user: &str, auth: AuthInfo, namespace: Option<String>) -> Result<Kubeconfig> {
    let (name, cluster) = current_cluster(admin)?;
    let context = Context { cluster: name.clone(), user: Some(user.to_owned()), namespace, ..Default::default() };
    let context_name = format!("{user}@{name}");
    Ok(Kubeconfig {
        kind: Some("Config".to_owned()),
        api_version: Some("v1".to_owned()),
        clusters: vec![NamedCluster { name, cluster: Some(cluster), ..Default::default() }],
        auth_infos: vec![NamedAuthInfo { name: user.to_owned(), auth_info: Some(auth), ..Default::default() }],
        contexts: vec![NamedContext { name: context_name.clone(), context: Some(context), ..Default::default() }],
        current_context: Some(context_name),
        ..Default::default()
    })
}

fn current_cluster(kubeconfig: &Kubeconfig) -> Result<(String, Cluster)> {
    use kube::config::KubeconfigError as E;
    let unusable = |source| Error::Kubeconfig { of: "the administrator".to_owned(), source: Box::new(source) };
    let current = kubeconfig.current_context.as_ref().ok_or_else(|| unusable(E::CurrentContextNotSet))?;
    let context = kubeconfig.contexts.iter().find(|c| c.name == *current).and_then(|c| c.context.as_ref());
    let name = &context.ok_or_else(|| unusable(E::LoadContext(current.clone())))?.cluster;
    let cluster = kubeconfig.clusters.iter().find(|c| c.name == *name).and_then(|c| c.cluster.clone());
    let mut cluster = cluster.ok_or_else(|| unusable(E::LoadClusterOfContext(name.clone())))?;
    if let Some(file) = cluster.certificate_authority.take() {
        let pem = std::fs::read(&file).map_err(Error::io("read", &file))?;
        cluster.certificate_authority_data = Some(BASE64_STANDARD.encode(pem));
    }
    Ok((name.clone(), cluster))
}
