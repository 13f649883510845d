//! An operator that may not see something.
