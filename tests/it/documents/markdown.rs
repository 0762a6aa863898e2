//! What the tests read of a document: its fenced blocks, its tables, its links. Just as much of Markdown as ours use.

use std::path::{Path, PathBuf};

/// A fenced block.
#[derive(Debug)]
pub(super) struct Block {
    /// What stands behind the opening fence.
    pub(super) info: String,
    pub(super) text: String,
    /// Where it begins, counted from 1.
    pub(super) line: usize,
}

/// A command with the output that the document shows for it.
#[derive(Debug)]
pub(super) struct Example {
    pub(super) script: String,
    pub(super) mark: Mark,
    pub(super) output: Option<Block>,
    pub(super) line: usize,
}

/// What stands behind `sh` in the opening fence.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing: it is run.
    Run,
    /// `drain`: while it runs, the gateway is told to stop (`SIGTERM`).
    Drain,
    /// `no-run: REASON`: it is shown only.
    NoRun,
}

/// The root of the repository.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A document's text, if there is one of this name.
pub(super) fn read(name: &str) -> Option<String> {
    std::fs::read_to_string(root().join(name)).ok()
}

/// The Markdown files of the repository, but not those of others in it.
pub(super) fn all() -> Vec<PathBuf> {
    fn gather(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).expect("our directories can be read").map_while(Result::ok) {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
                gather(&path, found);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    gather(root(), &mut found);
    found.sort();
    found
}

/// The fenced blocks, in order.
pub(super) fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(Block, usize)> = None;
    for (number, line) in (1..).zip(document.lines()) {
        let indent = line.len() - line.trim_start().len();
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(info), None) => {
                open = Some((Block { info: info.trim().to_owned(), text: String::new(), line: number }, indent));
            }
            (Some(_), Some((block, _))) => blocks.push(block),
            (None, Some((mut block, indent))) => {
                block.text.push_str(line.get(indent..).unwrap_or_default());
                block.text.push('\n');
                open = Some((block, indent));
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fenced block is not closed");
    blocks
}

/// The text without its fenced blocks.
pub(super) fn prose(document: &str) -> String {
    let mut inside = false;
    let lines = document.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// The commands of a document, each with the block of output that follows.
#[track_caller]
pub(super) fn examples(document: &str) -> Vec<Example> {
    let mut blocks = blocks(document).into_iter().peekable();
    let mut examples = Vec::new();
    while let Some(Block { info, text, line }) = blocks.next() {
        let Some(mark) = info.strip_prefix("sh") else {
            assert!(
                !matches!(info.as_str(), "" | "bash" | "shell" | "console"),
                "line {line}: commands are marked `sh`"
            );
            continue;
        };
        let mark = match mark.trim() {
            "" => Mark::Run,
            "drain" => Mark::Drain,
            _ => {
                let reason = mark.trim().strip_prefix("no-run:").map(str::trim);
                assert!(reason.is_some_and(|reason| !reason.is_empty()), "line {line}: `{info}` is no mark");
                Mark::NoRun
            }
        };
        let output = blocks.next_if(|next| matches!(next.info.as_str(), "text" | "json"));
        examples.push(Example { script: text, mark, output, line });
    }
    examples
}

/// The sections under headings of the second level, each with its heading.
pub(super) fn sections(document: &str) -> Vec<(&str, &str)> {
    document.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap_or((section, ""))).collect()
}

/// The cells of each row of the tables in a section.
pub(super) fn rows(section: &str) -> Vec<Vec<&str>> {
    let rows = section.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    rows.map(|row| row.split('|').map(str::trim).collect()).collect()
}

/// The targets of links and images.
pub(super) fn links(document: &str) -> Vec<String> {
    let prose: String = prose(document).split('`').step_by(2).collect(); // Not those in code.
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let attributes = prose.split(" src=\"").skip(1).filter_map(|rest| rest.split('"').next());
    inline.chain(attributes).map(|target| target.split(' ').next().unwrap_or_default().to_owned()).collect()
}

/// The anchors of a document's headings, as the forges make them.
pub(super) fn anchors(document: &str) -> Vec<String> {
    let headings = prose(document).lines().map(str::to_owned).collect::<Vec<_>>();
    let headings = headings.iter().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let slug = |heading: &str| {
        let kept = heading.to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

/// The pieces of code in a text: spans between backticks, and each command or line of fenced blocks. What programs print
/// is not among them.
pub(super) fn code(document: &str) -> Vec<String> {
    let prose = prose(document);
    let spans = prose.split('`').skip(1).step_by(2).map(str::to_owned);
    let written = blocks(document).into_iter().filter(|block| !matches!(block.info.as_str(), "text" | "json"));
    let commands = written.flat_map(|block| {
        let whole = block.text.replace("\\\n", " ");
        whole.split(['\n', ';', '|', '&']).map(str::to_owned).collect::<Vec<_>>()
    });
    spans.chain(commands).collect()
}
