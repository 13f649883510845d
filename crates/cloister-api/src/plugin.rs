//! Policies of other projects, as far as Cloister writes and reads them: by their parts that decide what is open.
//!
//! What somebody else wrote must be readable whatever is in it, so that the parts are kept as they are.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ClusterResourceScope, NamespaceResourceScope, Resource};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;

/// A kind of another project, with a `spec` that is kept as it is.
macro_rules! policy {
    ($(#[$doc:meta])* $kind:ident, $group:literal, $version:literal, $plural:literal, $scope:ty, { $($(#[$field_doc:meta])* $field:ident),* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $kind {
            /// The group and version.
            #[serde(default, deserialize_with = "crate::null::absent")]
            pub api_version: String,
            /// The kind.
            #[serde(default, deserialize_with = "crate::null::absent")]
            pub kind: String,
            /// The metadata.
            pub metadata: ObjectMeta,
            $(
                $(#[$field_doc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<Value>,
            )*
        }

        impl $kind {
            /// The name of its definition.
            pub const DEFINITION: &str = concat!($plural, ".", $group);

            /// One with this spec.
            pub fn new(metadata: ObjectMeta, spec: Value) -> Self {
                let api_version = concat!($group, "/", $version).to_owned();
                let mut new = Self { api_version, kind: stringify!($kind).to_owned(), metadata, $($field: None,)* };
                new.spec = Some(spec);
                new
            }
        }

        impl Resource for $kind {
            type DynamicType = ();
            type Scope = $scope;

            fn kind(_: &()) -> Cow<'_, str> {
                stringify!($kind).into()
            }

            fn group(_: &()) -> Cow<'_, str> {
                $group.into()
            }

            fn version(_: &()) -> Cow<'_, str> {
                $version.into()
            }

            fn plural(_: &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

policy! {
    /// Cilium's policy of one namespace: [`cilium.io/v2`](https://docs.cilium.io/en/stable/security/policy/).
    CiliumNetworkPolicy, "cilium.io", "v2", "ciliumnetworkpolicies", NamespaceResourceScope, {
        /// What it opens and denies.
        spec,
        /// More of the same.
        specs
    }
}

policy! {
    /// A policy of the whole cluster that stands above NetworkPolicies, or below them:
    /// [`policy.networking.k8s.io/v1alpha2`](https://network-policy-api.sigs.k8s.io/).
    ClusterNetworkPolicy, "policy.networking.k8s.io", "v1alpha2", "clusternetworkpolicies", ClusterResourceScope, {
        /// What it accepts, denies and passes on.
        spec
    }
}

/// The annotation of that kind's definition that says which fields it has.
pub const CHANNEL: &str = "policy.networking.k8s.io/channel";

/// Its value where there are names (`domainNames`) among them.
pub const EXPERIMENTAL: &str = "experimental";
