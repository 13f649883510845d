//! What CloisterConfig chooses for the whole cluster: what opens egress beside NetworkPolicies, by the definitions of the
//! projects whose they are, and which DNS servers are asked.

mod around;
mod cilium;
mod cluster;
mod kept_answers;
mod place;
mod references;
mod servers;
mod ways_in;
mod workloads;
