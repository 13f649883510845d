//! The tools of this repository: the embedded cluster that the tests, the demo and the benchmarks run against.

pub mod audit;
pub mod bench;
pub mod cargo;
pub mod cluster;
pub mod crds;
pub mod demo;
pub mod dns;
pub mod install;
pub mod operator;
pub mod prepared;
pub mod reference;
pub mod suite;
