//! Whether so many connections fit into the limit of open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::CliError;

/// Descriptors for everything but connections.
const RESERVE: u64 = 32;

/// Raises the limit of open files as far as the process may by itself.
///
/// # Errors
/// It does not allow so many connections.
pub(super) fn allow(connections: usize) -> Result<(), CliError> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    enough(if raised { maximum } else { current }, connections)
}

/// `None` is no limit.
fn enough(limit: Option<u64>, connections: usize) -> Result<(), CliError> {
    let Some(limit) = limit else { return Ok(()) };
    let allowed = limit.saturating_sub(RESERVE);
    if connections as u64 <= allowed {
        return Ok(());
    }
    let words = format!(
        "the limit of open files ({limit}) allows {allowed} connections, and {connections} are wanted: raise it \
         (ulimit -n, LimitNOFILE=), or share connections with --http2"
    );
    Err(CliError::Failed(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_limit_allows_is_told() {
        enough(None, usize::MAX).expect("no limit");
        enough(Some(1024), 992).expect("they fit");
        let words = enough(Some(1024), 993).expect_err("one too many").to_string();
        assert!(words.contains("(1024) allows 992 connections, and 993 are wanted"), "{words}");
    }
}
