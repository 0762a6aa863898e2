//! What would be used, as a file: what `encke check` prints. No secret is in it.

use std::fmt::{self, Write};

use super::source::Form;
use super::{Configuration, KeyKind, Origin, Setting, TopicRule, Who};

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for setting in &self.settings {
            writeln!(f, "{setting}")?;
        }
        for (kind, keys) in [(KeyKind::Publish, &self.args.publish_keys), (KeyKind::Admin, &self.args.admin_keys)] {
            match keys.len() {
                0 => {}
                1 => writeln!(f, "# 1 {kind}, not shown")?,
                keys => writeln!(f, "# {keys} {kind}s, not shown")?,
            }
        }
        for rule in &self.args.topics {
            write!(f, "\n{rule}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<_> = self.values.iter().map(|value| self.form.written(value)).collect();
        let line = match (self.form, values.as_slice()) {
            (Form::List, []) if self.origin == Origin::Default => return write!(f, "# {} is not set", self.name),
            (Form::List, values) => format!("{} = [{}]", self.name, values.join(", ")),
            (_, []) => return write!(f, "# {} is not set", self.name),
            (_, [value, ..]) => format!("{} = {value}", self.name),
        };
        match self.origin {
            Origin::Default => write!(f, "{line}"),
            Origin::Flag => write!(f, "{line:<47} # from its flag"),
            Origin::Variable => write!(f, "{line:<47} # from its variable"),
            Origin::File => write!(f, "{line:<47} # from the file"),
        }
    }
}

impl Form {
    fn written(self, value: &str) -> String {
        match self {
            Self::Number => value.to_owned(),
            // Of a variable, anything that can be read as a yes.
            Self::Flag => {
                matches!(value.to_ascii_lowercase().as_str(), "true" | "yes" | "y" | "on" | "1" | "t").to_string()
            }
            Self::Text | Self::List => quoted(value),
        }
    }
}

/// A basic string (TOML 1.0 § String).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            c if c.is_control() => drop(write!(quoted, "\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

impl fmt::Display for TopicRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[[topics]]\nmatch = {}", quoted(&self.written))?;
        for (name, who) in [("read", self.read), ("publish", self.publish)] {
            match who {
                Some(Who::Key) => writeln!(f, "{name} = \"key\"")?,
                Some(Who::Public) => writeln!(f, "{name} = \"public\"")?,
                None => {}
            }
        }
        let seconds = |age: std::time::Duration| format!("\"{}s\"", age.as_secs());
        let keep = [
            self.keep.events.map(|events| format!("events = {events}")),
            self.keep.age.map(|age| format!("age = {}", seconds(age))),
            self.keep.bytes.map(|bytes| format!("bytes = {bytes}")),
        ];
        let keep: Vec<String> = keep.into_iter().flatten().collect();
        if !keep.is_empty() {
            writeln!(f, "keep = {{ {} }}", keep.join(", "))?;
        }
        if let Some(ttl) = self.ttl {
            writeln!(f, "ttl = {}", seconds(ttl))?;
        }
        if let Some(quota) = self.quota {
            let unit = if quota.per.as_secs() == 1 { "s" } else { "m" };
            writeln!(f, "quota = \"{}/{unit}\"", quota.events)?;
        }
        Ok(())
    }
}
