//! Tables and plots, put into a document between two marks.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Plot, markdown};
use crate::rounds::Line;

const BEGIN: &str = "<!-- Written by benches/compare/run --write: begin -->\n";
const END: &str = "<!-- Written by benches/compare/run --write: end -->\n";

/// Writes tables between the marks in `document`, and plots into the directory of the document's name beside it.
pub fn write(document: &Path, lines: &[Line], plots: &[Plot]) -> Result<()> {
    let directory = document.with_extension("");
    fs::create_dir_all(&directory)?;
    let stem = directory.file_name().context("the document has no name")?.to_string_lossy().into_owned();
    let mut text = markdown(lines);
    for plot in plots {
        fs::write(directory.join(plot.name), &plot.svg)?;
        text.push_str(&format!("\n![{}]({stem}/{})\n", plot.title, plot.name));
    }
    let before = fs::read_to_string(document).with_context(|| format!("{} cannot be read", document.display()))?;
    let after = put_between(&before, &text).with_context(|| format!("{} has no marks {BEGIN}", document.display()))?;
    fs::write(document, after).with_context(|| format!("{} cannot be written", document.display()))
}

fn put_between(document: &str, text: &str) -> Option<String> {
    let begin = document.find(BEGIN)? + BEGIN.len();
    let end = begin + document[begin..].find(END)?;
    Some(format!("{}\n{}\n{}", &document[..begin], text.trim_end(), &document[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_the_marks_is_replaced_and_nothing_else() {
        let document = format!("before\n{BEGIN}old\n{END}after\n");
        let expected = format!("before\n{BEGIN}\nnew\n{END}after\n");
        assert_eq!(put_between(&document, "new\n").unwrap(), expected);
        assert_eq!(put_between("no marks", "new"), None);
    }
}
