//! What other people's tools make of Cloister: kubectl in all its ways to write, what waits by kstatus, Flux, Prometheus, and
//! what validates manifests before they are sent.

mod flux;
mod kstatus;
mod kubectl;
mod manifests;
mod metrics;
mod phases;
mod reviews;
mod stage;
