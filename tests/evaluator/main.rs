//! Two evaluators of NetworkPolicies that share no line of code say the same: Cloister's own and Cyclonus.

mod cases;

use anyhow::{Context, Result, ensure};
use cloister_tests::cyclonus::Cyclonus;

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
    let mut cyclonus = Cyclonus::start()?;
    let (mut flows, mut allowed) = (0, 0);
    for at in 0..CASES {
        let case = cases::case(&mut random);
        let said = case.agreed(&mut cyclonus).with_context(|| format!("case {at} of seed {seed}"))?;
        flows += said.len();
        allowed += said.iter().filter(|verdict| verdict.is_allowed()).count();
    }
    // Neither nothing nor everything is allowed, or the comparison would say little.
    ensure!(allowed * 10 > flows && allowed * 10 < flows * 9, "{allowed} of {flows} flows are allowed");
    println!("{CASES} cases, {flows} flows, {allowed} allowed: no difference");
    Ok(())
}
