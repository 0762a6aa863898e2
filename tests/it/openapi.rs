//! The description of the interface is valid, is the one in `docs/`, and is what the gateway does.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::process::Process;

/// A copy of what a gateway with the defaults says.
const COPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");

#[test]
fn the_copy_of_the_description_is_what_a_gateway_says() {
    let gateway = Gateway::start_with(&[], &[("ENCKE_PUBLISH_KEY", "a-key-for-tests-of-openapi")]);
    let told = Request::get("/openapi.json").ask(&gateway.admin_url().replace("http://", "")).text();
    let copy = std::fs::read_to_string(COPY).unwrap_or_default();
    assert!(told == copy, "take a new copy: curl -s http://127.0.0.1:8081/openapi.json > docs/openapi.json\n{told}");
}

#[test]
fn the_description_is_valid() {
    let printed = run("openapi-spec-validator", &["--subschema-errors", "all", COPY]);
    assert!(printed.contains("OK"), "{printed}");
}

#[test]
fn every_example_of_the_description_is_one_that_its_schema_allows() {
    let description: Value = serde_json::from_str(&std::fs::read_to_string(COPY).expect("it is there")).expect("JSON");
    let paths = description["paths"].as_object().expect("paths");
    let mut seen = 0;
    for operation in paths.values().flat_map(|path| path.as_object().expect("operations").values()) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let (schema, Some(example)) = (&parameter["schema"], parameter.get("example")) else { continue };
            let words = schema["enum"].as_array();
            assert!(words.is_none_or(|words| words.contains(example)), "{parameter}");
            seen += 1;
        }
    }
    assert!(seen > 20, "the description has examples: {seen}");
}

/// How many requests are made up for each operation.
const EXAMPLES: &str = "10";

#[test]
fn publishers_are_answered_as_the_description_says() {
    // Also to requests that it does not allow.
    answers_as_described(&["--exclude-method", "GET", "--mode", "all"]);
}

#[test]
fn subscribers_and_operators_are_answered_as_the_description_says() {
    answers_as_described(&["--include-method", "GET", "--mode", "positive"]);
}

#[track_caller]
fn answers_as_described(which: &[&str]) {
    let gateway = Gateway::start(&["--dev"]);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let settings = directory.path().join("schemathesis.toml");
    std::fs::write(&settings, SETTINGS).expect("it can be written");
    let settings = settings.to_string_lossy();
    let schema = format!("{}/openapi.json", gateway.url());
    let options = ["--config-file", &*settings, "run", &schema, "--url", gateway.url(), "--checks", CHECKS];
    let bounds = ["--phases", "examples,fuzzing", "--max-examples", EXAMPLES, "--seed", "1", "--workers", "1"];
    let printed = run(
        "schemathesis",
        &[&options[..], &bounds, &["--no-shrink", "--request-timeout", "60", "--warnings", "off"], which].concat(),
    );
    assert!(printed.contains(" passed") && !printed.contains("failed"), "{printed}");
}

/// Streams do not end: of the transports, the one that answers at once is asked for.
const SETTINGS: &str = r#"
[[operations]]
include-method = "GET"
include-path-regex = "^/events"
parameters = { "query.transport" = "poll" }
"#;

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      response_headers_conformance";

/// What a program of `tests/clients/tools.txt` prints; it must end well.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.deps/tools/bin");
    let mut command = Command::new(tools.join(program));
    // Not where it was started: it leaves a directory of its own behind.
    let directory = tempfile::tempdir().expect("a temporary directory");
    command.args(arguments).env("NO_COLOR", "1").current_dir(directory.path());
    let mut process = Process::spawn(command);
    let lines: Vec<String> = std::iter::from_fn(|| process.line(PATIENCE * 5)).collect();
    let status = process.wait(PATIENCE);
    let printed = lines.join("\n");
    assert!(status.success(), "{status}\n{printed}\n{}", process.errors());
    printed
}
