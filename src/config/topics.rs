//! `[[topics]]`: what holds for the topics that a selector matches. The first rule that matches a topic is the one.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::Who;
use super::file::{Faults, is_near, kind, text_of};
use super::value::{self, Quota};
use crate::event::TopicSelector;

/// One rule. What it leaves open is as it would be without a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRule {
    /// The topics that it is for.
    pub selector: TopicSelector,
    /// The selector as it was written.
    pub written: String,
    /// Who may read them.
    pub read: Option<Who>,
    /// Who may publish to them.
    pub publish: Option<Who>,
    /// How much of them is kept.
    pub keep: Keep,
    /// How long an event is worth delivering, where its publisher does not say.
    pub ttl: Option<Duration>,
    /// How much may be published to them, all together.
    pub quota: Option<Quota>,
}

/// How much of the topics of a rule is kept at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// How many events.
    pub events: Option<u64>,
    /// How long.
    pub age: Option<Duration>,
    /// How many bytes of data.
    pub bytes: Option<u64>,
}

const RULE: &[&str] = &["match", "read", "publish", "keep", "ttl", "quota"];
const KEEP: &[&str] = &["events", "age", "bytes"];

/// The rules of a file, as far as they can be read; what is wrong with the others goes to `faults`.
pub(super) fn rules(value: &Spanned<DeValue<'_>>, options: &[String], faults: &mut Faults<'_>) -> Vec<TopicRule> {
    let tables = value.get_ref().as_array().filter(|array| array.iter().all(|table| table.get_ref().is_table()));
    let Some(tables) = tables else {
        faults.add(value.span(), "rules for topics are tables of their own: write [[topics]] before each");
        return Vec::new();
    };
    read_rules(tables, options, faults)
}

fn read_rules(tables: &DeArray<'_>, options: &[String], faults: &mut Faults<'_>) -> Vec<TopicRule> {
    let mut rules: Vec<TopicRule> = Vec::new();
    for table in tables {
        let fields = table.get_ref().as_table().expect("they were looked at");
        let Some((rule, at)) = rule(fields, table.span(), options, faults) else { continue };
        let hiding = rules.iter().find(|above| above.selector.covers(&rule.selector));
        if let Some(above) = hiding {
            faults.add(at, format!("this rule has no effect: `{}` above it matches first", above.written));
        }
        rules.push(rule);
    }
    rules
}

type At = std::ops::Range<usize>;

fn rule(fields: &DeTable<'_>, at: At, options: &[String], faults: &mut Faults<'_>) -> Option<(TopicRule, At)> {
    for key in fields.keys().filter(|key| !RULE.contains(&key.get_ref().as_ref())) {
        let name = key.get_ref();
        if options.iter().any(|option| option == name) {
            faults.add(key.span(), format!("`{name}` is an option, not a part of a rule: it stands above [[topics]]"));
        } else {
            faults.add(key.span(), unknown("a rule has no", name, RULE));
        }
    }
    let mut reader = Fields { fields, faults };
    let read = reader.parsed("read", who);
    let publish = reader.parsed("publish", who);
    let ttl = reader.parsed("ttl", value::age);
    let quota = reader.parsed("quota", str::parse);
    let keep = reader.keep();
    let Some(matching) = fields.get("match") else {
        faults.add(at, "a rule needs the topics that it is for, as in match = \"orders/**\"");
        return None;
    };
    let written = match text_of(matching.get_ref()) {
        Ok(written) => written,
        Err(words) => {
            faults.add(matching.span(), format!("match: {words}"));
            return None;
        }
    };
    match TopicSelector::parse(&written) {
        Ok(selector) => Some((TopicRule { selector, written, read, publish, keep, ttl, quota }, matching.span())),
        Err(error) => {
            faults.add(matching.span(), format!("match: {error}"));
            None
        }
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let near = known.iter().find(|known| is_near(name, known));
    near.map_or_else(
        || format!("{what} `{name}`; there are {}", known.join(", ")),
        |near| format!("{what} `{name}`; did you mean `{near}`?"),
    )
}

struct Fields<'a, 'f, 'i> {
    fields: &'a DeTable<'i>,
    faults: &'a mut Faults<'f>,
}

impl Fields<'_, '_, '_> {
    fn parsed<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = self.fields.get(name)?;
        let parsed = text_of(value.get_ref()).and_then(|text| parse(&text));
        parsed.map_err(|words| self.faults.add(value.span(), format!("{name}: {words}"))).ok()
    }

    fn keep(&mut self) -> Keep {
        let Some(value) = self.fields.get("keep") else { return Keep::default() };
        let Some(fields) = value.get_ref().as_table() else {
            let words = format!(
                "keep: this is {}; write keep = {{ events = 1000, age = \"1h\", bytes = \"64MiB\" }}, or some of them",
                kind(value.get_ref())
            );
            self.faults.add(value.span(), words);
            return Keep::default();
        };
        for key in fields.keys().filter(|key| !KEEP.contains(&key.get_ref().as_ref())) {
            self.faults.add(key.span(), unknown("keep has no", key.get_ref(), KEEP));
        }
        let mut reader = Fields { fields, faults: self.faults };
        let count = |text: &str| value::count(text).map(|count| count as u64);
        Keep {
            events: reader.parsed("events", count),
            age: reader.parsed("age", value::age),
            bytes: reader.parsed("bytes", value::size),
        }
    }
}

fn who(text: &str) -> Result<Who, String> {
    match text {
        "key" => Ok(Who::Key),
        "public" => Ok(Who::Public),
        "token" | "ask" => {
            Err(format!("`{text}` is a word of a later release; today there are \"key\" and \"public\""))
        }
        _ => Err("use \"key\" (key holders) or \"public\" (everybody)".into()),
    }
}
