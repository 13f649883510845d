//! The one way in: a watch for each kind, which fills the index and queues the keys that a change concerns.

pub mod bindable;
pub mod definitions;
mod feed;
pub mod kinds;
pub mod needs;
mod synced;

pub use feed::Watches;
pub use synced::Synced;
