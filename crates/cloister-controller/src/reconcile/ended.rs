//! Grants that have ended and of which only a few facts are kept: the whole is read again where it is needed.

use crate::{context::Context, decode::Decoded, error::Error, write::Writer};
use cloister_api::{AccessReview, EgressGrant, GrantKind, RoleGrant, StorageAccessGrant};
use cloister_core::{child::GrantRef, grant::Grant};
use kube::{Api, Resource, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, sync::Arc};

/// Reads an ended grant again and keeps it whole until it is settled.
pub async fn take_back(context: &Context, namespace: &Arc<str>, grant: &GrantRef) -> Result<(), Error> {
    let found = match grant.kind {
        GrantKind::StorageAccessGrant => read::<StorageAccessGrant>(context, namespace, grant).await,
        GrantKind::EgressGrant => read::<EgressGrant>(context, namespace, grant).await,
        GrantKind::RoleGrant => read::<RoleGrant>(context, namespace, grant).await,
    };
    match found {
        Ok(found) => {
            context.index_mut().take_back(namespace, grant, found);
            Ok(())
        }
        // The watch will tell.
        Err(error) if error.category() == "not_found" => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads a review again of which only a few facts are kept: its grant is gone, which is to be said of it.
pub async fn take_back_review(context: &Context, namespace: &Arc<str>, name: &Arc<str>) -> Result<(), Error> {
    let api: Api<Decoded<AccessReview>> = Api::namespaced(context.client.clone(), namespace);
    let what = || format!("read AccessReview {namespace}/{name}");
    match Writer::new(context).request(what, api.get(name)).await {
        Ok(found) => {
            context.index_mut().take_back_review(namespace, name, found);
            Ok(())
        }
        // The watch will tell.
        Err(error) if error.category() == "not_found" => Ok(()),
        Err(error) => Err(error),
    }
}

async fn read<K>(context: &Context, namespace: &str, grant: &GrantRef) -> Result<Decoded<Grant>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Into<Grant>,
{
    let api: Api<Decoded<K>> = Api::namespaced(context.client.clone(), namespace);
    let what = || format!("read {} {namespace}/{}", grant.kind.as_str(), grant.name);
    let found = Writer::new(context).request(what, api.get(&grant.name)).await?;
    Ok(Decoded { metadata: found.metadata, object: found.object.map(Into::into) })
}
