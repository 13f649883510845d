//! What an expression is evaluated with: the standard functions, and its one variable.

use cel::Env;
use std::sync::{Arc, LazyLock};

/// The one variable of an expression.
pub const REQUEST: &str = "request";

/// The standard functions and macros. Built once: it is the larger part of a compilation.
pub static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));
