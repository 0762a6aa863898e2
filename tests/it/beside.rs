//! The benchmark that sets two builds beside one another runs, and says what it measured.

use std::path::Path;
use std::process::Command;

#[test]
fn a_build_beside_itself_is_measured_round_by_round() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/beside/run");
    let program = env!("CARGO_BIN_EXE_encke");
    let sizes = ["--rounds", "2", "--readers", "5", "--events", "3"];
    let output = Command::new(script).args([program, program]).args(sizes).output().expect("Python runs it");
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}{errors}");
    let lines: Vec<&str> = told.lines().collect();
    let [first, second, sum] = lines[..] else { panic!("two rounds and what they amount to: {told}") };
    assert!(first.starts_with("0: ") && second.starts_with("1: ") && sum.starts_with("a delivery: "), "{told}");
    let times = [first, second].map(|line| line.split(' ').filter_map(|word| word.parse().ok()).collect::<Vec<f64>>());
    assert!(times.iter().all(|of| of.len() == 2 && of.iter().all(|time| *time > 0.0)), "a time of each: {told}");
}
