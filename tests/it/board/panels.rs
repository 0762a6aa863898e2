//! The boards in `grafana/`, as Grafana reads them.

use std::path::Path;

use serde_json::Value;

/// One board.
pub(super) struct Board {
    pub(super) name: String,
    pub(super) json: Value,
}

/// One panel that shows data.
pub(super) struct Panel<'a> {
    pub(super) title: &'a str,
    pub(super) kind: &'a str,
    pub(super) json: &'a Value,
    pub(super) expressions: Vec<&'a str>,
}

impl Board {
    /// Every board there is.
    pub(super) fn all() -> Vec<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana");
        let files = std::fs::read_dir(directory)
            .expect("there is a directory of boards")
            .map(|entry| entry.expect("an entry").path());
        let boards = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let boards: Vec<_> = boards
            .map(|path| {
                let text = std::fs::read_to_string(&path).expect("a board can be read");
                let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
                Self { json: serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}")), name }
            })
            .collect();
        assert!(!boards.is_empty());
        boards
    }

    /// The rows, open or closed.
    pub(super) fn rows(&self) -> Vec<&Value> {
        self.top().iter().filter(|panel| panel["type"] == "row").collect()
    }

    /// The panels, also those in closed rows.
    pub(super) fn panels(&self) -> Vec<Panel<'_>> {
        let nested = self.rows().into_iter().filter_map(|row| row["panels"].as_array()).flatten();
        self.top().iter().filter(|panel| panel["type"] != "row").chain(nested).map(Panel::read).collect()
    }

    /// The template variables.
    pub(super) fn variables(&self) -> &[Value] {
        self.json["templating"]["list"].as_array().expect("a board has variables")
    }

    fn top(&self) -> &[Value] {
        self.json["panels"].as_array().expect("a board has panels")
    }
}

impl<'a> Panel<'a> {
    /// Whether it asks for exemplars.
    pub(super) fn has_exemplars(&self) -> bool {
        self.json["targets"].as_array().is_some_and(|targets| targets.iter().any(|target| target["exemplar"] == true))
    }

    fn read(json: &'a Value) -> Self {
        let targets = json["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            title: json["title"].as_str().unwrap_or_default(),
            kind: json["type"].as_str().unwrap_or_default(),
            json,
            expressions: targets.iter().map(|target| target["expr"].as_str().unwrap_or_default()).collect(),
        }
    }
}

/// The selectors of our metrics in an expression: the name of the series, its matchers, and its range if it has one.
pub(super) fn selectors(expression: &str) -> Vec<(&str, &str, Option<&str>)> {
    let starts = expression.match_indices("encke_").map(|(at, _)| &expression[at..]);
    starts
        .map(|text| {
            let name = &text[..text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len())];
            let rest = &text[name.len()..];
            let (matchers, rest) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).unwrap_or(("", rest));
            let range = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(range, _)| range);
            (name, matchers, range)
        })
        .collect()
}

/// An expression as Grafana sends it: `job` and `instance` are regular expressions, as they stand in a string; of paths all
/// are chosen, and ranges are longer than any test.
pub(super) fn substituted(expression: &str, job: &str, instance: &str) -> String {
    let ranges = expression.replace("$__rate_interval", "10m").replace("$__range", "10m");
    ranges.replace("$job", job).replace("$instance", instance).replace("$path", ".+")
}
