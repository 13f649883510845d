//! What opens egress beside NetworkPolicies: what the settings choose, of what is installed.

use cloister_api::EgressBackend;

/// What is installed of what could open egress, beside NetworkPolicies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// CiliumNetworkPolicies.
    pub cilium: bool,
    /// ClusterNetworkPolicies.
    pub cluster: Option<Channel>,
}

/// The fields that ClusterNetworkPolicies have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Those that are settled: no names.
    Standard,
    /// Names among them.
    Experimental,
}

/// What opens egress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// NetworkPolicies alone: a name is held by its addresses.
    NetworkPolicy,
    /// CiliumNetworkPolicies for names.
    Cilium,
    /// ClusterNetworkPolicies as a bound, and for names where they have them.
    ClusterNetworkPolicy(Channel),
    /// What was chosen is not installed: nothing opens by name.
    Missing(EgressBackend),
}

impl Backend {
    /// What opens egress by this choice. Where nothing was chosen, the one thing that is installed; NetworkPolicies where
    /// there are more, because which of them is enforced nobody knows.
    pub fn of(choice: EgressBackend, installed: Installed) -> Self {
        let cilium = installed.cilium.then_some(Backend::Cilium);
        let cluster = installed.cluster.map(Backend::ClusterNetworkPolicy);
        match choice {
            EgressBackend::NetworkPolicy => Backend::NetworkPolicy,
            EgressBackend::Auto => cilium.xor(cluster).unwrap_or(Backend::NetworkPolicy),
            EgressBackend::Cilium => cilium.unwrap_or(Backend::Missing(choice)),
            EgressBackend::ClusterNetworkPolicy => cluster.unwrap_or(Backend::Missing(choice)),
        }
    }

    /// Its name.
    pub fn name(self) -> EgressBackend {
        match self {
            Backend::NetworkPolicy | Backend::Missing(_) => EgressBackend::NetworkPolicy,
            Backend::Cilium => EgressBackend::Cilium,
            Backend::ClusterNetworkPolicy(_) => EgressBackend::ClusterNetworkPolicy,
        }
    }

    /// Whether it sees what pods ask DNS for, so that a name can stand for all names below it.
    pub fn sees_names(self) -> bool {
        matches!(self, Backend::Cilium | Backend::ClusterNetworkPolicy(Channel::Experimental))
    }

    /// Whether the policies of a namespace depend on what its grants open by address.
    pub fn needs_grant_egress(self) -> bool {
        matches!(self, Backend::Cilium | Backend::ClusterNetworkPolicy(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_used_and_what_is_ambiguous_is_not() {
        let none = Installed::default();
        let cilium = Installed { cilium: true, ..none };
        let cluster = Installed { cluster: Some(Channel::Standard), ..none };
        let both = Installed { cilium: true, ..cluster };
        let bound = Backend::ClusterNetworkPolicy(Channel::Standard);
        for (installed, backend) in [
            (none, Backend::NetworkPolicy),
            (cilium, Backend::Cilium),
            (cluster, bound),
            (both, Backend::NetworkPolicy),
        ] {
            assert_eq!(Backend::of(EgressBackend::Auto, installed), backend);
            assert_eq!(Backend::of(EgressBackend::NetworkPolicy, installed), Backend::NetworkPolicy);
        }
        assert_eq!(Backend::of(EgressBackend::Cilium, both), Backend::Cilium);
        assert_eq!(Backend::of(EgressBackend::ClusterNetworkPolicy, both), bound);
        assert_eq!(Backend::of(EgressBackend::Cilium, cluster), Backend::Missing(EgressBackend::Cilium));
    }
}
