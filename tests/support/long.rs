//! How long a run is meant to be.

/// Whether `tests/run --long` asks tests that repeat themselves to do so many more times.
pub(crate) fn long() -> bool {
    std::env::var_os("ENCKE_TEST_LONG").is_some_and(|value| !value.is_empty() && value != "0")
}
