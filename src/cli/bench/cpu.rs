//! What a process has used of the processor.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// This process, all its threads together.
pub(super) fn own() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(used.tv_sec), u64::try_from(used.tv_nsec));
    Duration::from_secs(seconds.unwrap_or(0)) + Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// Another process of this machine, to a hundredth of a second.
///
/// # Errors
/// There is none of this number, or the system does not tell.
pub(super) fn of(pid: u32) -> Result<Duration, String> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let ticks = ticks(&text).ok_or_else(|| format!("{path} does not say what was used"))?;
    Ok(Duration::from_secs_f64(ticks / clock_ticks()))
}

/// The user's and the system's time of `proc_pid_stat(5)`: the 14th and 15th field. The second is a name in parentheses, which
/// may hold anything.
#[expect(clippy::cast_precision_loss, reason = "ticks of a hundredth of a second")]
fn ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64)
}

#[expect(clippy::cast_precision_loss, reason = "it is 100")]
fn clock_ticks() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_misleads_nobody() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 200 3 4 150 25 0 0 20 0 3 0 100 1000 10";
        assert_eq!(ticks(stat), Some(175.0));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_used_some_by_either_way() {
        let before = own();
        let told = of(std::process::id()).expect("this process is there");
        assert!(!before.is_zero() && told <= own() + Duration::from_millis(20), "{before:?} and {told:?}");
        assert!(of(u32::MAX).is_err_and(|words| words.contains("cannot read")));
    }
}
