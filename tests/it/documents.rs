//! The documents say what is: their examples are run, and their options, metrics and links exist.
//!
//! How an example is written: a block marked `sh`, then one marked `text` (what it prints, line for line) or `json` (the
//! value it prints, however spaced). They are run from top to bottom in one directory, with the program just built as
//! `encke`, also in place of `cargo run --release --` and `target/release/encke`. `encke serve …` starts the gateway for
//! those that follow; the documents call it `http://127.0.0.1:8080`, and its admin address `http://127.0.0.1:8081`. `/var`
//! is in that directory, with the beginning of the machine's `dpkg.log`. What never ends (`curl -N` without `-m`,
//! `encke subscribe` without `--count`, `encke tail` without `--once`) is ended once it has printed what is shown.
//! [`shape`] says what need not be the same. `sh drain` stops the gateway while the example runs; `sh no-run: REASON` is
//! for what cannot be run here.

mod markdown;
mod recipes;
mod session;
mod shape;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use crate::support::gateway::Gateway;
use crate::support::http::Request;

#[test]
fn the_examples_of_the_http_interface_print_what_it_says() {
    run_examples("docs/http.md");
}

#[test]
fn the_examples_of_the_command_line_print_what_it_says() {
    run_examples("docs/command-line.md");
}

#[test]
fn the_examples_of_the_deployment_print_what_it_says() {
    run_examples("docs/deploy.md");
}

#[test]
fn the_examples_of_the_configuration_print_what_it_says() {
    run_examples("docs/configuration.md");
}

#[test]
fn the_configuration_is_written_by_the_program() {
    let written = Command::new(env!("CARGO_BIN_EXE_encke")).arg("configuration").output().expect("the program runs");
    let written = String::from_utf8(written.stdout).expect("a document is text");
    let document = markdown::read("docs/configuration.md").expect("it is there");
    assert!(document == written, "it is stale: run `target/debug/encke configuration > docs/configuration.md`");
}

#[test]
fn the_examples_of_operations_print_what_it_says() {
    run_examples("docs/operations.md");
}

#[test]
fn the_examples_of_the_diagnosis_print_what_it_says() {
    run_examples("docs/diagnosis.md");
}

#[test]
fn the_examples_of_the_metrics_print_what_it_says() {
    run_examples("docs/metrics.md");
}

#[test]
fn the_examples_of_the_transports_print_what_it_says() {
    run_examples("docs/transports.md");
}

#[test]
fn the_examples_of_the_readme_print_what_it_says() {
    run_examples("README.md");
}

fn run_examples(name: &'static str) {
    let document = markdown::read(name).unwrap_or_else(|| panic!("there is no {name}"));
    let examples = markdown::examples(&document);
    assert!(!examples.is_empty(), "{name} has no example");
    let mut session = session::Session::new(name);
    for example in &examples {
        session.run(example);
    }
}

#[test]
fn every_section_of_the_http_interface_has_an_example() {
    let document = markdown::read("docs/http.md").expect("it is there");
    for (heading, section) in markdown::sections(&document) {
        let examples = markdown::examples(section);
        let shown = examples.iter().any(|example| example.mark != markdown::Mark::NoRun && example.output.is_some());
        assert!(shown, "`{heading}` has no example with its output");
    }
}

const COMMANDS: [&str; 8] = ["serve", "check", "publish", "subscribe", "tail", "bench", "doctor", "backup"];

/// An option's variable and default, if it has them.
type Options = BTreeMap<String, (Option<String>, Option<String>)>;

#[test]
fn the_tables_of_options_are_what_the_help_says() {
    let document = markdown::read("docs/command-line.md").expect("it is there");
    let configuration = markdown::read("docs/configuration.md").expect("it is there");
    let sections = markdown::sections(&document);
    let table = |heading: &str| {
        let (_, section) =
            sections.iter().find(|(found, _)| *found == heading).unwrap_or_else(|| panic!("no {heading}"));
        documented_options(section)
    };
    for command in COMMANDS {
        let mut documented = table(&format!("encke {command}"));
        documented.extend(table("Every command"));
        match command {
            "serve" => documented.extend(documented_options(&configuration)),
            "check" | "backup" => {} // They work beside a gateway, not through one.
            "bench" | "doctor" => {} // Their URL may be any server's.
            _ => documented.extend(table("The gateway and its key")),
        }
        assert_eq!(documented, options_of(command), "the table of `encke {command}` and its --help");
    }
}

/// The rows that begin with an option: its name, its variable, its default.
fn documented_options(section: &str) -> Options {
    let code = |cell: &str| cell.split('`').nth(1).map(str::to_owned);
    let rows = markdown::rows(section).into_iter().filter_map(|cells| {
        let [option, variable, default, ..] = cells[..] else { return None };
        let name = code(option)?.split(' ').find(|word| word.starts_with("--"))?.to_owned();
        Some((name, (code(variable), code(default))))
    });
    rows.collect()
}

/// The same from `--help`.
fn options_of(command: &str) -> Options {
    let help = help(command);
    let mut options = Options::new();
    let mut current = None;
    for line in help.lines() {
        let words = line.trim_start();
        let names = if line.starts_with("  ") && words.starts_with('-') { words } else { "" };
        // An option begins near the margin; deeper lines explain it.
        if line.len() - words.len() <= 6
            && let Some(name) = names.split([' ', '=']).find(|word| word.starts_with("--"))
        {
            options.insert(name.to_owned(), (None, None));
            current = Some(name.to_owned());
        }
        let Some(entry) = current.as_ref().and_then(|name| options.get_mut(name)) else { continue };
        let tagged = |tag: &str| line.split_once(tag).and_then(|(_, rest)| rest.split(['=', ']']).next());
        if let Some(variable) = tagged("[env: ") {
            entry.0 = Some(variable.trim().to_owned());
        }
        if let Some(default) = tagged("[default: ") {
            entry.1 = Some(default.to_owned());
        }
    }
    options
}

fn help(command: &str) -> String {
    let mut run = Command::new(env!("CARGO_BIN_EXE_encke"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ENCKE_") {
            run.env_remove(name);
        }
    }
    let output = run.args([command, "--help"]).output().expect("the program runs");
    assert!(output.status.success(), "{command} --help: {}", output.status);
    // A tag may be broken over two lines.
    let help = String::from_utf8(output.stdout).expect("help is text");
    let mut unbroken = String::new();
    for line in help.lines() {
        let open = unbroken.rsplit('\n').next().unwrap_or_default();
        let inside = open.rfind('[').is_some_and(|at| !open[at..].contains(']'));
        unbroken.push_str(if inside { " " } else { "\n" });
        unbroken.push_str(if inside { line.trim_start() } else { line });
    }
    unbroken
}

/// What users and operators read. What is planned, or was once, has its place elsewhere.
fn manuals() -> Vec<(String, String)> {
    let named = markdown::all().into_iter().map(|path| {
        let name = path.strip_prefix(markdown::root()).unwrap_or(&path).to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a document can be read");
        (name, text)
    });
    named.filter(|(name, _)| !matches!(name.as_str(), "ARCHITECTURE.md" | "CHANGELOG.md")).collect()
}

#[test]
fn every_option_and_variable_that_the_documents_name_exists() {
    let known: Vec<Options> = COMMANDS.iter().map(|command| options_of(command)).collect();
    let options: BTreeSet<&str> = known.iter().flat_map(|options| options.keys().map(String::as_str)).collect();
    let variables = known.iter().flat_map(|options| options.values().filter_map(|(variable, _)| variable.as_deref()));
    let variables: BTreeSet<&str> = variables.chain(NO_OPTIONS).collect();
    let mut seen = 0;
    for (name, document) in manuals() {
        for code in markdown::code(&document) {
            for variable in words(&code).filter(|word| word.starts_with("ENCKE_") && word.len() > "ENCKE_".len()) {
                assert!(variables.contains(variable), "{name} speaks of {variable}, which is not there");
                seen += 1;
            }
            if is_of_another_program(&code) {
                continue;
            }
            let code = code.replace("cargo run --release --", "");
            for option in words(&code).filter(|word| word.starts_with("--") && word.len() > 2) {
                assert!(options.contains(option), "{name} speaks of {option}, which is not there");
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "the documents name options");
}

/// The key itself is never a flag, and no client has it.
const NO_OPTIONS: [&str; 1] = ["ENCKE_ADMIN_KEY"];

/// Names and options, without what stands around them.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))
}

/// Whether a piece of code is for a program that has options of its own.
fn is_of_another_program(code: &str) -> bool {
    // What they are told ends with our name at times.
    if ["docker ", "systemctl "].iter().any(|program| code.trim_start().starts_with(program)) {
        return true;
    }
    let ours = code.replace("cargo run --release --", "encke").contains("encke ");
    let others = [
        "confusion",
        "curl",
        "cargo",
        "docker",
        "ffmpeg",
        "ffplay",
        "git",
        "mutants",
        "npm",
        "prometheus",
        "promtool",
        "run",
    ];
    !ours && code.split([' ', '/']).any(|word| others.contains(&word))
}

#[test]
fn every_metric_that_the_documents_name_exists() {
    let gateway = Gateway::start(&["--dev"]);
    let exported = Request::get("/metrics").ask(gateway.address()).text();
    let mut exported: BTreeSet<&str> = exported.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    // What is there only once something was learnt has a row there, and `board` holds those rows to what is exported.
    let table = markdown::read("docs/metrics.md").expect("it is there");
    exported.extend(table.lines().filter_map(|line| line.strip_prefix("| `")?.split(['{', '`']).next()));
    let exists = |name: &str| {
        let is_family = |exported: &&str| {
            exported.strip_prefix(name).is_some_and(|rest| matches!(rest, "" | "_bucket" | "_sum" | "_count"))
        };
        exported.iter().any(is_family) || (name.ends_with('_') && exported.iter().any(|found| found.starts_with(name)))
    };
    let mut seen = 0;
    for (name, document) in manuals() {
        let metrics = words(&document).filter(|word| word.starts_with("encke_"));
        for metric in metrics.filter(|metric| !NO_METRICS.contains(metric)) {
            assert!(exists(metric), "{name} speaks of {metric}, which is not exported");
            seen += 1;
        }
    }
    assert!(seen > 20, "the documents name metrics");
}

/// The cookie of `--dev`.
const NO_METRICS: [&str; 1] = ["encke_dev"];

#[test]
fn every_relative_link_leads_somewhere() {
    let (mut seen, mut broken) = (0, Vec::new());
    for path in markdown::all() {
        let document = std::fs::read_to_string(&path).expect("a document can be read");
        let links = markdown::links(&document).into_iter();
        for link in links.filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            seen += 1;
            if !leads_somewhere(&path, &link) {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(seen > 0, "the documents have links");
    assert!(broken.is_empty(), "these lead nowhere:\n{}", broken.join("\n"));
}

fn leads_somewhere(from: &Path, link: &str) -> bool {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let directory = from.parent().unwrap_or(Path::new(""));
    let target = if file.is_empty() { from.to_path_buf() } else { directory.join(file) };
    if anchor.is_empty() {
        return target.exists();
    }
    std::fs::read_to_string(target).is_ok_and(|text| markdown::anchors(&text).iter().any(|found| found == anchor))
}
