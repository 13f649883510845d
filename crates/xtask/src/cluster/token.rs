//! Tokens of ServiceAccounts.

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};

use super::{Error, Result};

const VALID_SECONDS: i64 = 24 * 60 * 60;

pub(super) async fn request(admin: Client, namespace: &str, name: &str) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin, namespace);
    let spec = TokenRequestSpec { expiration_seconds: Some(VALID_SECONDS), ..Default::default() };
    let request = TokenRequest { spec: Some(spec), ..Default::default() };
    let answer = accounts
        .create_token_request(name, &PostParams::default(), &request)
        .await
        .map_err(Error::api(format!("cannot get a token of the ServiceAccount {namespace}/{name}")))?;
    Ok(answer.status.and_then(|status| status.token).unwrap_or_default())
}
