//! How many connections the limit of open files allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Semaphore;

/// Descriptors that are kept from the connections of clients: for the log, the admin listener, connections that are being
/// refused, and what the libraries open.
const RESERVE: u64 = 64;

/// Raises the limit of open files as far as the process may by itself, and answers how many connections clients may have
/// under it: `wanted`, if that is not more than it allows.
pub fn connections(wanted: Option<usize>) -> usize {
    let allowed = allowed(raise());
    match wanted {
        Some(wanted) if wanted > allowed => {
            tracing::warn!(wanted, allowed, "the limit of open files (ulimit -n) does not allow so many connections");
            allowed
        }
        Some(wanted) => wanted,
        None => allowed,
    }
}

/// Raises the soft limit to the hard one, and answers what holds then; `None` is no limit.
fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum || setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        return current;
    }
    maximum
}

/// Where the limit is tight, a third of it serves clients.
fn allowed(descriptors: Option<u64>) -> usize {
    let left = descriptors.map(|limit| limit.saturating_sub(RESERVE).max(limit / 3));
    let left = left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
    left.clamp(1, Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_kept_for_other_things_than_clients() {
        for (limit, connections) in [(1024, 960), (20_000, 19_936), (65, 21), (64, 21), (96, 32), (3, 1), (0, 1)] {
            assert_eq!(allowed(Some(limit)), connections, "{limit}");
        }
        assert_eq!(allowed(None), Semaphore::MAX_PERMITS);
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes_and_what_is_wanted_stays_below_it() {
        let allowed = allowed(raise());
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
        assert_eq!(connections(None), allowed);
        assert_eq!(connections(Some(2)), 2);
        assert_eq!(connections(Some(usize::MAX)), allowed);
    }
}
