//! The file: TOML whose keys are the names of the flags, and rules for topics. What is wrong is told with its line and
//! column, all of it at once. It is read here and checked by the very parsers of the flags.

use std::error::Error;
use std::num::ParseIntError;
use std::ops::Range;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::KeyKind;
use super::topics::{self, TopicRule};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct File {
    /// In the order of the file.
    pub(super) options: Vec<Entry>,
    pub(super) topics: Vec<TopicRule>,
}

/// An option and its values, as a flag would be given them.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) values: Vec<String>,
    /// It is there or not, and has no value.
    pub(super) is_flag: bool,
}

/// What is wrong with a file, each as `file:line:column: words`.
pub(super) struct Faults<'a> {
    path: &'a Path,
    text: &'a str,
    found: Vec<(usize, String)>,
    /// The lines that are no TOML.
    broken: Vec<usize>,
}

impl Faults<'_> {
    pub(super) fn add(&mut self, at: Range<usize>, words: impl Into<String>) {
        // What was made of a line that is no TOML means nothing.
        if !self.broken.contains(&place(self.text, at.start).0) {
            self.found.push((at.start, words.into()));
        }
    }

    fn add_broken(&mut self, error: &toml::de::Error) {
        let at = error.span().unwrap_or(0..0);
        self.add(at.clone(), format!("this is no TOML: {}", error.message()));
        self.broken.push(place(self.text, at.start).0);
    }

    /// By their places in the file.
    fn told(mut self) -> Vec<String> {
        self.found.sort_by_key(|(at, _)| *at);
        let told = self.found.iter().map(|(at, words)| {
            let (line, column) = place(self.text, *at);
            format!("{}:{line}:{column}: {words}", self.path.display())
        });
        told.collect()
    }
}

/// Line and column, from 1; columns are characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// Reads `text`; `command` has an argument for each option.
///
/// # Errors
/// Everything that is wrong with it, a line each.
pub(super) fn parse(path: &Path, text: &str, command: &clap::Command) -> Result<File, Vec<String>> {
    let mut faults = Faults { path, text, found: Vec::new(), broken: Vec::new() };
    let (table, errors) = DeTable::parse_recoverable(text);
    errors.iter().for_each(|error| faults.add_broken(error));
    let known: Vec<String> = command.get_arguments().filter_map(name).collect();
    let mut file = File::default();
    // The parser keeps what it understood of a file with errors: that is looked at too.
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let name = key.get_ref().as_ref();
        if name == TOPICS {
            file.topics = topics::rules(value, &known, &mut faults);
        } else if !known.iter().any(|known| known == name) {
            faults.add(key.span(), unknown(name, value, &known));
        } else {
            file.options.extend(entry(name, value, command, &mut faults));
        }
    }
    if faults.found.is_empty() { Ok(file) } else { Err(faults.told()) }
}

/// The name by which an argument is set in the file; the file does not name another file.
pub(super) fn name(argument: &clap::Arg) -> Option<String> {
    argument.get_long().filter(|name| !matches!(*name, "config" | "help" | "version")).map(str::to_owned)
}

const TOPICS: &str = "topics";

fn unknown(name: &str, value: &Spanned<DeValue<'_>>, known: &[String]) -> String {
    let is_key = match name {
        "publish-key" | "publish_key" | "key" => Some(KeyKind::Publish),
        "admin-key" | "admin_key" => Some(KeyKind::Admin),
        _ => None,
    };
    if let Some(kind) = is_key {
        return format!(
            "`{name}`: a key does not stand in this file, which gets copied and shown: put it into a file of its own, \
             readable for the gateway alone, and name that with {}",
            kind.option()
        );
    }
    let near = known.iter().map(String::as_str).chain([TOPICS]).find(|known| is_near(name, known));
    match near {
        Some(near) => format!("there is no option `{name}`; did you mean `{near}`?"),
        None if value.get_ref().is_table() => {
            format!("there is no table `{name}`; options stand at the top of the file, in no table")
        }
        None => format!("there is no option `{name}`; docs/configuration.md names them all"),
    }
}

/// Whether somebody who wrote `name` may have meant `known`.
pub(super) fn is_near(name: &str, known: &str) -> bool {
    let folded: String = name.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect();
    strsim::damerau_levenshtein(&folded, known) <= known.len() / 4
}

/// An option whose values are good.
fn entry(name: &str, value: &Spanned<DeValue<'_>>, command: &clap::Command, faults: &mut Faults<'_>) -> Option<Entry> {
    let argument = command.get_arguments().find(|argument| argument.get_long() == Some(name)).expect("it is known");
    let one = std::slice::from_ref(value);
    let many = matches!(argument.get_action(), clap::ArgAction::Append);
    let items = value.get_ref().as_array().filter(|_| many).map_or(one, |array| array.as_ref());
    let is_flag = matches!(argument.get_action(), clap::ArgAction::SetTrue);
    let mut values = Vec::new();
    let before = faults.found.len();
    for item in items {
        let checked = if is_flag {
            item.get_ref()
                .as_bool()
                .map(|set| set.to_string())
                .ok_or_else(|| format!("this is {}; write {name} = true, or false", kind(item.get_ref())))
        } else {
            text_of(item.get_ref()).and_then(|text| check(name, text, command))
        };
        match checked {
            Ok(text) => values.push(text),
            Err(words) => faults.add(item.span(), format!("{name}: {words}")),
        }
    }
    (faults.found.len() == before).then(|| Entry { name: name.to_owned(), values, is_flag })
}

/// Holds a value against the option's own parser.
fn check(name: &str, text: String, command: &clap::Command) -> Result<String, String> {
    match command.clone().try_get_matches_from([format!("--{name}={text}")]) {
        Ok(_) => Ok(text),
        Err(error) => Err(reason(&error)),
    }
}

/// What clap says of a value, without the value and without advice on flags.
pub(super) fn reason(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::InvalidValue
        && let Some(ContextValue::Strings(valid)) = error.get(ContextKind::ValidValue)
    {
        return format!("use one of {}", valid.join(", "));
    }
    match error.source() {
        Some(source) if source.is::<ParseIntError>() => "use a whole number".to_owned(),
        Some(source) => source.to_string(),
        None => "there is no value".to_owned(),
    }
}

/// A value as a flag would be given it.
pub(super) fn text_of(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            parsed.map(|number| number.to_string()).map_err(|_| "this number is too large".to_owned())
        }
        other => Err(format!("this is {}; write a text or a whole number", kind(other))),
    }
}

/// What a value is, in words.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests;
