//! A lock that nobody can wait for twice.
//!
//! A thread that holds a guard and asks for another waits for itself as soon as somebody else waits to write in between:
//! both wait for ever, and with them everybody who comes. So a thread holds one guard at most. One that asks for a second
//! has a defect, and panics: the process is started again rather than stand still. A guard stays on its thread, so that no
//! task holds one while it waits. `clippy.toml` allows no other lock of this kind.

use std::{
    cell::Cell,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard, TryLockError},
};

#[expect(clippy::disallowed_types, reason = "this is what is used in its stead")]
type Lock<T> = std::sync::RwLock<T>;

thread_local! {
    static HELD: Cell<bool> = const { Cell::new(false) };
}

/// Something that is read by many and written by one, each thread holding it once.
#[derive(Debug, Default)]
pub struct Guarded<T>(Lock<T>);

impl<T> Guarded<T> {
    /// Something that nobody holds yet.
    pub fn new(value: T) -> Self {
        Guarded(Lock::new(value))
    }

    /// Reads it.
    ///
    /// # Panics
    ///
    /// This thread holds it already.
    pub fn read(&self) -> Reading<'_, T> {
        let once = Once::begin();
        // A panic while it was written has ended the process.
        Reading { guard: self.0.read().unwrap_or_else(PoisonError::into_inner), _once: once }
    }

    /// Reads it, if nobody is writing.
    ///
    /// # Panics
    ///
    /// This thread holds it already.
    pub fn try_read(&self) -> Option<Reading<'_, T>> {
        let once = Once::begin();
        match self.0.try_read() {
            Ok(guard) => Some(Reading { guard, _once: once }),
            Err(TryLockError::Poisoned(poisoned)) => Some(Reading { guard: poisoned.into_inner(), _once: once }),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Writes it.
    ///
    /// # Panics
    ///
    /// This thread holds it already.
    pub fn write(&self) -> Writing<'_, T> {
        let once = Once::begin();
        Writing { guard: self.0.write().unwrap_or_else(PoisonError::into_inner), _once: once }
    }
}

/// It is being read.
pub struct Reading<'a, T> {
    guard: RwLockReadGuard<'a, T>,
    _once: Once,
}

impl<T> Deref for Reading<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

/// It is being written.
pub struct Writing<'a, T> {
    guard: RwLockWriteGuard<'a, T>,
    _once: Once,
}

impl<T> Deref for Writing<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Writing<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// That this thread holds a guard. It stays on its thread.
struct Once(PhantomData<*const ()>);

impl Once {
    fn begin() -> Self {
        assert!(!HELD.replace(true), "this thread holds the index already, and would wait for itself");
        Once(PhantomData)
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        HELD.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn no_guard_is_held_across_another() {
        let guarded = Guarded::<u8>::default();
        let panics = |act: &dyn Fn()| catch_unwind(AssertUnwindSafe(act)).is_err();
        let ask = |how: usize| match how {
            0 => drop(guarded.read()),
            1 => drop(guarded.try_read()),
            _ => drop(guarded.write()),
        };
        let hold = |how: usize, then: &dyn Fn()| match how {
            0 => {
                let _held = guarded.read();
                then();
            }
            1 => {
                let _held = guarded.try_read();
                then();
            }
            _ => {
                let _held = guarded.write();
                then();
            }
        };
        for (first, second) in (0..3).flat_map(|first| (0..3).map(move |second| (first, second))) {
            assert!(panics(&|| hold(first, &|| ask(second))), "{first} then {second}");
            // What was held is free again, panic or not.
            assert!(!panics(&|| ask(second)));
        }
    }

    #[test]
    fn one_after_the_other_is_as_ever() {
        let guarded = Guarded::<u8>::default();
        *guarded.write() = 7;
        assert_eq!(*guarded.read(), 7);
        assert_eq!(guarded.try_read().map(|seven| *seven), Some(7));
        let held = guarded.write();
        std::thread::scope(|scope| {
            assert!(scope.spawn(|| guarded.try_read().is_none()).join().unwrap(), "another thread may ask");
        });
        drop(held);
    }
}
