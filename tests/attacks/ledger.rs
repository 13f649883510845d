//! How many attacks were tried, and how many held.

use anyhow::Result;
use std::{
    collections::BTreeSet,
    io::Write,
    process::{Child, Command, Stdio},
    sync::{LazyLock, Mutex, PoisonError},
};

/// Counts what it is told, and says so when there is nothing more to be told: when this process has ended, however.
const COUNT: &str = r#"
    $1 == "tried" { tried++; open[$2] }
    $1 == "held" { held++; delete open[$2] }
    END {
        for (name in open) print "attack not held: " name
        printf "attacks: %d tried, %d held\n", tried, held
    }
"#;

struct Ledger {
    counter: Child,
    names: BTreeSet<&'static str>,
}

static LEDGER: LazyLock<Mutex<Ledger>> = LazyLock::new(|| {
    let counter = Command::new("awk").args(["-F", "\t", COUNT]).stdin(Stdio::piped()).spawn();
    Mutex::new(Ledger { counter: counter.expect("awk counts the attacks"), names: BTreeSet::new() })
});

fn write(ledger: &Ledger, what: &str, name: &str) {
    let mut input = ledger.counter.stdin.as_ref().expect("it is piped");
    writeln!(input, "{what}\t{name}").expect("the counter reads");
}

/// An attack under way. One that is dropped before it is said to have held has not.
#[must_use]
pub struct Attack(&'static str);

/// Begins an attack. No two have one name.
pub fn attack(name: &'static str) -> Attack {
    let mut ledger = LEDGER.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(ledger.names.insert(name), "two attacks are called {name:?}");
    write(&ledger, "tried", name);
    Attack(name)
}

impl Attack {
    /// All that the story asserts was so.
    pub fn held(self) -> Result<()> {
        write(&LEDGER.lock().unwrap_or_else(PoisonError::into_inner), "held", self.0);
        Ok(())
    }
}
