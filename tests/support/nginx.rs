//! A real nginx with the files that `deploy/nginx` ships, as a plain process on a port and in a directory of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::process::Process;
use super::server::started;

/// The shipped configuration, with the changes that a test makes.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    outer: String,
    locations: String,
    /// Directives of the test's own, inside `http` and inside `server`.
    http: String,
    server: String,
    worker_connections: u32,
}

/// A running nginx. Dropping it kills it and its workers.
pub(crate) struct Nginx {
    process: Process,
    port: u16,
    _prefix: TempDir,
}

impl Configuration {
    /// What is shipped, in front of the gateway at `authority` (`127.0.0.1:PORT`): nothing but the port differs.
    pub(crate) fn shipped(authority: &str) -> Self {
        let text = |name: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx").join(name);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        Self {
            outer: replaced(&text("encke.conf"), "127.0.0.1:8080", authority),
            locations: text("encke-locations.conf"),
            http: String::new(),
            server: String::new(),
            worker_connections: 256,
        }
    }

    /// With the lines of the keep-alive alternative taken in.
    pub(crate) fn with_keep_alive(mut self) -> Self {
        self.outer = replaced(&self.outer, "#keepalive 32;", "keepalive 32;");
        self.locations = replaced(&self.locations, "#proxy_http_version", "proxy_http_version");
        self.locations = replaced(&self.locations, "#proxy_set_header Connection", "proxy_set_header Connection");
        self
    }

    /// Without the rule that gives event streams a time to come back: as nginx is without the shipped files.
    pub(crate) fn without_the_rule(mut self) -> Self {
        let rule = "error_page 429 500 502 503 504 =200 @encke_come_back;";
        self.locations = replaced(&self.locations, rule, "");
        self
    }

    /// With another patience for a silent gateway, such as `2s`.
    pub(crate) fn read_timeout(mut self, time: &str) -> Self {
        let line = format!("proxy_read_timeout {time};");
        self.locations = replaced(&self.locations, "proxy_read_timeout 130s;", &line);
        self
    }

    /// With further directives inside `http`.
    pub(crate) fn in_http(mut self, directives: &str) -> Self {
        self.http = directives.to_owned();
        self
    }

    /// With further directives inside `server`.
    pub(crate) fn in_server(mut self, directives: &str) -> Self {
        self.server = directives.to_owned();
        self
    }

    /// With so many connections for its one worker.
    pub(crate) fn worker_connections(mut self, count: u32) -> Self {
        self.worker_connections = count;
        self
    }

    /// A site as an operator would write it around the two files, kept in `prefix`.
    fn write(&self, prefix: &Path, port: u16) {
        let Self { http, server, worker_connections, .. } = self;
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("    {name}_temp_path {name};\n"))
            .collect();
        let main = format!(
            "daemon off;\nworker_processes 1;\nuser root;\npid nginx.pid;\nerror_log stderr notice;\n\
             events {{ worker_connections {worker_connections}; }}\n\
             http {{\n{temporary}    access_log off;\n    default_type application/octet-stream;\n    sendfile on;\n    \
             tcp_nopush on;\n    gzip on;\n    {http}\n    include encke.conf;\n    \
             server {{\n        listen 127.0.0.1:{port};\n        {server}\n        include encke-locations.conf;\n    }}\n}}\n"
        );
        for (name, text) in
            [("nginx.conf", &main), ("encke.conf", &self.outer), ("encke-locations.conf", &self.locations)]
        {
            fs::write(prefix.join(name), text).expect("the prefix can be written");
        }
    }
}

impl Nginx {
    /// Starts it and waits until it takes connections. Panics with its words if it does not.
    #[track_caller]
    pub(crate) fn start(configuration: &Configuration) -> Self {
        let prefix = tempfile::Builder::new().prefix("encke-nginx-").tempdir().expect("a temporary directory");
        let command = |port| {
            configuration.write(prefix.path(), port);
            let mut command = Command::new("nginx");
            command.arg("-p").arg(prefix.path()).args(["-e", "stderr", "-c", "nginx.conf"]);
            command
        };
        // Not by connecting: whoever else has that port would take the connection.
        let (process, port) = started(command, |process, _| process.errors().contains("start worker process"));
        Self { process, port, _prefix: prefix }
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.authority())
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The first process, for its signals: `TERM` stops at once, `QUIT` when the requests have ended, `HUP` reloads.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Replaces what must be there exactly once: a test whose change does not reach the file would test something else.
#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} stands once in what is shipped");
    text.replacen(from, to, 1)
}
