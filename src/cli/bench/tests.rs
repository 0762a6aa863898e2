//! What the options mean.

use clap::Parser as _;

use super::*;

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: BenchArgs,
}

fn parse(more: &[&str]) -> Result<BenchArgs, clap::Error> {
    Command::try_parse_from(["bench", "http://h/"].iter().chain(more)).map(|command| command.args)
}

#[test]
fn without_options_a_run_is_modest() {
    let args = parse(&[]).expect("arguments");
    let plan = args.plan().expect("a plan");
    assert_eq!((plan.connections, plan.threads, plan.duration), (10, 1, Duration::from_secs(10)));
    assert!(plan.publishing.is_none() && plan.streams.is_none() && plan.pid.is_none());
    assert_eq!(args.transport, ["sse".parse().expect("a transport")]);
}

#[test]
fn options_are_taken_as_they_are_meant() {
    let args = parse(&[
        "--topic=a",
        "--transport=poll:1s,poll,sse",
        "--connections=300",
        "--publish-rate=0.5",
        "--payload-bytes=90",
        "--http2",
        "--streams=30",
        "--duration=2m",
    ]);
    let args = args.expect("arguments");
    let plan = args.plan().expect("a plan");
    let publishing = plan.publishing.expect("it publishes");
    assert!((publishing.rate - 0.5).abs() < f64::EPSILON);
    assert_eq!((publishing.publishers, publishing.bytes, plan.streams), (1, 90, Some(30)));
    assert_eq!((plan.duration, args.transport.len()), (Duration::from_secs(120), 3));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for wrong in [
        &["--connections=0"][..],
        &["--connect-rate=0"],
        &["--connect-rate=nan"],
        &["--topic=a", "--publish-rate=-1"],
        &["--publish-rate=1"],
        &["--publishers=65"],
        &["--payload-bytes=20"],
        &["--payload-bytes=1048577"],
        &["--duration=0"],
        &["--interval=x"],
        &["--streams=5"],
        &["--threads=0"],
        &["--topic=a/*"],
        &["--transport="],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    let words = parse(&["--transport=ndjson"]).expect("arguments").plan().expect_err("no topic").to_string();
    assert!(words.contains("ndjson") && words.contains("--topic"), "{words}");
}
