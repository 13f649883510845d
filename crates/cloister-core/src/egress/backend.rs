//! What opens egress beside NetworkPolicies: what the settings choose, of what is installed.

use cloister_api::EgressBackend;

/// What is installed of what could open egress, beside NetworkPolicies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// CiliumNetworkPolicies.
    pub cilium: bool,
}

/// What opens egress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// NetworkPolicies alone: a name is held by its addresses.
    NetworkPolicy,
    /// CiliumNetworkPolicies for names.
    Cilium,
    /// What was chosen is not installed: nothing opens by name.
    Missing(EgressBackend),
}

impl Backend {
    /// What opens egress by this choice. What is installed is used where nothing else was chosen.
    pub fn of(choice: EgressBackend, installed: Installed) -> Self {
        match choice {
            EgressBackend::NetworkPolicy => Backend::NetworkPolicy,
            EgressBackend::Auto | EgressBackend::Cilium if installed.cilium => Backend::Cilium,
            EgressBackend::Auto => Backend::NetworkPolicy,
            EgressBackend::Cilium => Backend::Missing(choice),
        }
    }

    /// Its name.
    pub fn name(self) -> EgressBackend {
        match self {
            Backend::NetworkPolicy | Backend::Missing(_) => EgressBackend::NetworkPolicy,
            Backend::Cilium => EgressBackend::Cilium,
        }
    }

    /// Whether it sees what pods ask DNS for, so that a name can stand for all names below it.
    pub fn sees_names(self) -> bool {
        matches!(self, Backend::Cilium)
    }
}
