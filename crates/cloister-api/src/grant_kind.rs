//! The kinds of grants, in one list.
//!
//! The list is a macro that calls another one with it: whatever must exist once for each kind is generated from it, so that a
//! kind that is added here is watched, indexed, defined and removed as the others are. What the kinds do not have in common is
//! matched by hand, and the compiler asks for the new one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Calls a macro with the list of all kinds of grants: for each kind its documentation, its type, and the variant of `Grant`
/// that holds it. The macro is named in brackets, and gets what follows them first, in braces.
///
/// ```
/// macro_rules! names {
///     ({ $separator:literal } $($(#[$doc:meta])* $kind:ident as $variant:ident,)*) => { [$(stringify!($kind)),*].join($separator) };
/// }
/// assert_eq!(cloister_api::grant_kinds!([names] ", "), "StorageAccessGrant, EgressGrant, RoleGrant");
/// ```
#[macro_export]
macro_rules! grant_kinds {
    ([$($callback:tt)*] $($with:tt)*) => {
        $($callback)*! {
            { $($with)* }
            /// Asks for a role of a StorageResource.
            StorageAccessGrant as Storage,
            /// Asks for one egress rule.
            EgressGrant as Egress,
            /// Asks for an AccessRole.
            RoleGrant as Role,
        }
    };
}

/// Evaluates an expression with the type of a kind of grant: `with_grant_type!(kind, K => delete::<K>(name))`.
#[macro_export]
macro_rules! with_grant_type {
    ($kind:expr, $type:ident => $body:expr) => {
        $crate::grant_kinds!([$crate::match_grant_kind] ($kind) $type ($body))
    };
}

/// A part of [`with_grant_type`].
#[doc(hidden)]
#[macro_export]
macro_rules! match_grant_kind {
    ({ ($kind:expr) $type:ident ($body:expr) } $($(#[$doc:meta])* $name:ident as $variant:ident,)*) => {
        match $kind {
            $($crate::GrantKind::$name => {
                type $type = $crate::$name;
                $body
            })*
        }
    };
}

/// Declares [`GrantKind`].
macro_rules! declare {
    ({} $($(#[$doc:meta])* $kind:ident as $variant:ident,)*) => {
        /// The kinds of grants.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
        )]
        pub enum GrantKind {
            $($(#[$doc])* $kind,)*
        }

        impl GrantKind {
            /// All kinds.
            pub const ALL: [GrantKind; [$(stringify!($kind)),*].len()] = [$(GrantKind::$kind),*];

            /// The names of all kinds in the API.
            pub const NAMES: [&str; Self::ALL.len()] = [$(stringify!($kind)),*];

            /// The kind as it is written.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(GrantKind::$kind => stringify!($kind),)*
                }
            }
        }
    };
}

grant_kinds!([declare]);

impl GrantKind {
    /// The kind of this name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        GrantKind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}
