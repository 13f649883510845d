//! Two evaluators of NetworkPolicies that share no line of code say the same: Cloister's own and Cyclonus.

mod cases;
mod cyclonus;

use anyhow::{Result, ensure};
use cases::Case;
use cloister_core::evaluator::Policies;
use cyclonus::Cyclonus;

/// How many random cases there are, each with its own pods, policies and flows.
const CASES: u64 = 10_000;

/// Where the random numbers begin; `CLOISTER_SEED` sets another.
fn seed() -> u64 {
    std::env::var("CLOISTER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x0c10_1573)
}

#[test]
fn it_says_what_cyclonus_says() -> Result<()> {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let cases: Vec<Case> = (0..CASES).map(|_| Case::random(&mut random)).collect();
    let answers = Cyclonus::ask_all(&cases)?;
    let (mut flows, mut allowed) = (0, 0);
    for (at, (case, theirs)) in cases.iter().zip(&answers).enumerate() {
        let namespaces = case.namespaces.iter().map(|(name, labels)| (name.as_str(), labels));
        let policies = Policies::read(namespaces, &case.policies)?;
        ensure!(theirs.len() == case.flows.len(), "case {at}: {} answers", theirs.len());
        for (flow, theirs) in case.flows.iter().zip(theirs) {
            let ours = policies.ask(&case.flow(flow));
            ensure!(
                (ours.egress, ours.ingress) == *theirs,
                "case {at} of seed {seed}: {ours:?}, and Cyclonus says {theirs:?} of {}\n{}",
                serde_json::to_string(flow)?,
                serde_json::to_string_pretty(case)?
            );
            flows += 1;
            allowed += usize::from(ours.is_allowed());
        }
    }
    // Neither nothing nor everything is allowed, or the comparison would say little.
    ensure!(allowed * 10 > flows && allowed * 10 < flows * 9, "{allowed} of {flows} flows are allowed");
    println!("{CASES} cases, {flows} flows, {allowed} allowed: no difference");
    Ok(())
}
