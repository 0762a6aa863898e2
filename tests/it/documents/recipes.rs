//! The recipes of `docs/recipes.md`, each put into a small shop: it creates an order, has it paid, does that once more, and
//! rolls a change back. What readers are told is what was committed, once; and no gateway that is away undoes a commit.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::markdown;
use crate::support::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::told::all_after;

const KEY: &str = "a-key-for-tests-of-recipes";

#[test]
fn django_publishes_what_is_committed_once() {
    check(django);
}

#[test]
fn rails_publishes_what_is_committed_once() {
    check(rails);
}

#[test]
fn go_publishes_what_is_committed_once() {
    check(go);
}

#[test]
fn a_shell_publishes_what_is_committed_once() {
    check(shell);
}

#[test]
fn an_outbox_is_published_in_order_and_once() {
    let shop = Shop::new();
    let [table, script] = [block("When no event may be missed", "sql"), block("When no event may be missed", "sh")];
    let insert = "INSERT INTO outbox (topic, data) VALUES ('orders/42', '{\"state\": \"new order\"}'), \
                  ('orders/42', '{\"state\": \"paid\"}');";
    shop.sqlite(&format!("{table}{insert}"));
    let gateway = gateway();
    let away = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    shop.run(shell_command(&script, &format!("http://{away}")));
    assert_eq!(shop.sqlite("SELECT count(*) FROM outbox"), "2\n", "nothing is taken out that was not published");
    shop.run(shell_command(&script, gateway.url()));
    assert_eq!(shop.sqlite("SELECT count(*) FROM outbox"), "0\n");
    // As after a crash between the publish and the `DELETE`.
    shop.sqlite("INSERT INTO outbox VALUES (2, 'orders/42', '{\"state\": \"paid\"}')");
    shop.run(shell_command(&script, gateway.url()));
    assert_eq!(shop.sqlite("SELECT count(*) FROM outbox"), "0\n");
    assert_eq!(
        told(&gateway),
        [("outbox-1", r#"{"state":"new order"}"#), ("outbox-2", r#"{"state":"paid"}"#)].map(owned)
    );
}

/// A shop's program, made of a recipe, that talks to the gateway at this URL.
type Program = fn(&Shop, &str) -> Command;

#[track_caller]
fn check(program: Program) {
    let gateway = gateway();
    let shop = Shop::new();
    let printed = shop.run(program(&shop, gateway.url()));
    assert_eq!(printed.last().map(String::as_str), Some("paid"), "{printed:?}");
    let expected = [
        ("order-42-1", r#"{"id":42,"state":"new","version":1}"#),
        ("order-42-2", r#"{"id":42,"state":"paid","version":2}"#),
    ];
    assert_eq!(told(&gateway), expected.map(owned));

    // One that takes connections and says nothing: the backlog does so by itself.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let shop = Shop::new();
    let printed = shop.run(program(&shop, &format!("http://{}", silent.local_addr().expect("it has an address"))));
    assert_eq!(printed.last().map(String::as_str), Some("paid"), "it is committed without a gateway: {printed:?}");
}

fn gateway() -> Gateway {
    Gateway::start_with(&["--read", "public"], &[("ENCKE_PUBLISH_KEY", KEY)])
}

/// The key and the data of each event.
fn told(gateway: &Gateway) -> Vec<(String, String)> {
    all_after(gateway.address(), None).into_iter().map(|event| (event.key.unwrap_or_default(), event.data)).collect()
}

fn owned((key, data): (&str, &str)) -> (String, String) {
    (key.to_owned(), data.to_owned())
}

/// The first block of a section in this language.
#[track_caller]
fn block(section: &str, language: &str) -> String {
    let document = markdown::read("docs/recipes.md").expect("it is there");
    let sections = markdown::sections(&document);
    let (_, text) = sections.iter().find(|(heading, _)| *heading == section).expect("it has this section");
    let block = markdown::blocks(text).into_iter().find(|block| block.info == language);
    block.unwrap_or_else(|| panic!("`{section}` has a block in {language}")).text
}

/// A directory with a database.
struct Shop(TempDir);

impl Shop {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("encke-shop-").tempdir().expect("a temporary directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a recipe down, and gives the program that takes it as its first argument.
    fn program(&self, interpreter: &str, host: &str, recipe: &str, url: &str) -> Command {
        let file = self.path().join("recipe");
        std::fs::write(&file, recipe).expect("it can be written");
        let mut command = Command::new(interpreter);
        command.arg(hosts(host)).arg(file).args([url, KEY]).arg(self.path());
        command
    }

    /// Runs it to its end, which is to be good, and gives the lines that it printed.
    #[track_caller]
    fn run(&self, mut command: Command) -> Vec<String> {
        command.current_dir(self.path());
        let mut process = Process::spawn(command);
        let lines = std::iter::from_fn(|| process.line(PATIENCE)).collect();
        let status = process.wait(PATIENCE);
        assert!(status.success(), "{status}: {}", process.errors());
        lines
    }

    /// What SQLite says to some statements.
    #[track_caller]
    fn sqlite(&self, statements: &str) -> String {
        let output = Command::new("sqlite3").arg(self.path().join("shop.db")).arg(statements).output();
        let output = output.expect("sqlite3 is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }
}

fn hosts(name: &str) -> std::path::PathBuf {
    markdown::root().join("tests/clients/recipes").join(name)
}

fn django(shop: &Shop, url: &str) -> Command {
    let python = markdown::root().join("tests/.deps/tools/bin/python");
    shop.program(&python.to_string_lossy(), "django_shop.py", &block("Django", "python"), url)
}

fn rails(shop: &Shop, url: &str) -> Command {
    shop.program("ruby", "rails_shop.rb", &block("Rails", "ruby"), url)
}

fn go(shop: &Shop, url: &str) -> Command {
    let host = std::fs::read_to_string(hosts("shop.go")).expect("it is there");
    let source = shop.path().join("shop.go");
    std::fs::write(&source, host.replace("// RECIPE", &block("Go", "go"))).expect("it can be written");
    let mut build = Command::new("go");
    build.args(["build", "-o", "shop", "shop.go"]);
    build.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go")).env("GO111MODULE", "off");
    shop.run(build);
    let mut command = Command::new(shop.path().join("shop"));
    command.args([url, KEY]);
    command
}

/// The recipe's first line changes the row; all of it is run for each step.
fn shell(shop: &Shop, url: &str) -> Command {
    shop.sqlite("CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT, version INTEGER)");
    let recipe = block("A shell", "sh");
    let (update, publish) = recipe.split_once('\n').expect("it has lines");
    let publish = format!("{{\n{publish}}} || echo 'it was not published' >&2");
    let create = "sqlite3 shop.db \"INSERT INTO orders VALUES (42, 'new', 1)\"";
    let rolled_back = "sqlite3 shop.db \"BEGIN; UPDATE orders SET state = 'void', version = 3; ROLLBACK\"";
    let show = "sqlite3 shop.db 'SELECT state FROM orders'";
    shell_command(&[create, &publish, update, &publish, &publish, rolled_back, show].join("\n"), url)
}

fn shell_command(script: &str, url: &str) -> Command {
    let binary = Path::new(env!("CARGO_BIN_EXE_encke")).parent().expect("a program lies in a directory");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = [binary.to_path_buf()].into_iter().chain(std::env::split_paths(&path));
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("PATH", std::env::join_paths(paths).expect("paths without a colon"));
    command.envs([("ENCKE_URL", url), ("ENCKE_PUBLISH_KEY", KEY)]);
    command
}
