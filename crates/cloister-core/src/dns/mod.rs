//! What is known of a domain name: the addresses that it had of late, and when to ask again.
//!
//! A NetworkPolicy holds addresses and no names, and what a pod is answered is not what the operator was answered: names
//! rotate, resolvers cache, and a connection outlives the answer that led to it. So addresses are gathered over several
//! answers and kept for a while after they were last seen; a name that has too many, or that goes on having new ones,
//! cannot be held by addresses, and that is said rather than guessed.
//!
//! [`KnownName::learn`] folds one outcome of a look-up into what is known; nothing here asks anything, or has a clock.

mod answer;
pub(crate) mod known_name;
mod name_state;
mod resolved;

pub use answer::{Answer, Rebinding, Where};
pub use known_name::{KnownName, Limits, Outcome};
pub use name_state::{NO_SERVER, NameState};
pub use resolved::{Held, Host, Names};
