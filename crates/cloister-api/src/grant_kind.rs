//! The kinds of grants, in one list.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Declares the kinds of grants: what each asks for, and its name in the API.
macro_rules! grant_kinds {
    ($($(#[doc = $doc:literal])* $kind:ident,)*) => {
        /// The kinds of grants.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
        )]
        pub enum GrantKind {
            $($(#[doc = $doc])* $kind,)*
        }

        impl GrantKind {
            /// All kinds.
            pub const ALL: [GrantKind; [$(stringify!($kind)),*].len()] = [$(GrantKind::$kind),*];

            /// The kind as it is written.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(GrantKind::$kind => stringify!($kind),)*
                }
            }
        }
    };
}

grant_kinds! {
    /// Asks for a role of a StorageResource.
    StorageAccessGrant,
    /// Asks for one egress rule.
    EgressGrant,
    /// Asks for an AccessRole.
    RoleGrant,
}

impl GrantKind {
    /// The kind of this name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        GrantKind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}
