//! What opens egress beside NetworkPolicies: the policies of network plugins, by the definitions of those projects.

mod cilium;
mod cluster;
mod place;
