//! Reads just enough Rust to tell which modules a file names: no comments, no literals, paths by their tokens.

/// The module path of a file: `src/log/sqlite/mod.rs` is `log`, `sqlite`. Programs are `main`; `lib.rs` is nothing.
pub(crate) fn roots(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    if inner == "lib" {
        return Vec::new();
    }
    if inner.starts_with("bin/") {
        return vec!["main".to_owned()];
    }
    inner.split('/').filter(|part| *part != "mod").map(str::to_owned).collect()
}

/// The source with comments and the insides of literals blanked; lines stay where they are.
pub(crate) fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let in_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let (false, Some(length)) = (in_word, raw_string(rest)) {
            length
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' && is_char_literal(rest) {
            quoted(rest, '\'')
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.extend(rest[..skipped].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[skipped..];
    }
    code
}

/// Length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    for (at, _) in text.char_indices() {
        // `/*/` opens once: what was part of an opening is not part of a closing, for which no real file asks.
        if text[at..].starts_with("/*") {
            depth += 1;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at + 2;
            }
        }
    }
    text.len()
}

/// Length of a raw string that begins here: `r"…"`, `r#"…"#`, `br"…"`.
fn raw_string(text: &str) -> Option<usize> {
    let hashes_at = if text.starts_with("br") { 2 } else { text.starts_with('r').then_some(1)? };
    let hashes = text[hashes_at..].chars().take_while(|c| *c == '#').count();
    let inside = hashes_at + hashes + 1;
    text[hashes_at + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(text[inside..].find(&end).map_or(text.len(), |at| inside + at + end.len()))
}

/// Length of a literal between `quote`s, with `\` escaping.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// `'a'` and `'\n'`, but not the lifetime `'a`.
fn is_char_literal(text: &str) -> bool {
    let mut following = text.chars().skip(1);
    following.next() == Some('\\') || following.next() == Some('\'')
}

/// The modules at the root of our crate that the code of a file names, with the lines where.
///
/// `crate::a`, `crate::{a, b}`, `encke::a`, and as many `super` as lead to the root.
pub(crate) fn crate_modules(path: &str, code: &str) -> Vec<(usize, String)> {
    let tokens = tokens(code);
    let word = |at: usize| tokens.get(at).map_or("", |(_, word)| *word);
    // Files below the root; inline modules are added as their braces open.
    let depth = if roots(path) == ["main"] { 0 } else { roots(path).len() };
    let mut braces: Vec<bool> = Vec::new();
    let mut found = Vec::new();
    for (at, (line, token)) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map_or("", word);
        let at_root = match *token {
            "{" => {
                braces.push(at >= 2 && word(at - 2) == "mod");
                continue;
            }
            "}" => {
                braces.pop();
                continue;
            }
            "crate" => (word(at + 1) == "::").then_some(at + 2),
            "encke" => (before != "::" && word(at + 1) == "::").then_some(at + 2),
            "super" if before != "::" || word(at.saturating_sub(2)) != "super" => {
                let supers = (0..).take_while(|n| word(at + 2 * n) == "super").count();
                let inline = braces.iter().filter(|is_module| **is_module).count();
                (supers >= depth + inline && word(at + 2 * supers - 1) == "::").then_some(at + 2 * supers)
            }
            _ => None,
        };
        if let Some(start) = at_root {
            found.extend(first_names(&tokens, start).into_iter().map(|name| (*line, name)));
        }
    }
    found
}

/// The lines where `wanted` stands as a word of its own.
pub(crate) fn names(code: &str, wanted: &str) -> Vec<usize> {
    tokens(code).iter().filter(|(_, word)| *word == wanted).map(|(line, _)| *line).collect()
}

/// The lines that read variables of the environment.
pub(crate) fn env_reads(code: &str) -> Vec<usize> {
    let tokens = tokens(code);
    let reads = |at: usize| first_names(&tokens, at).iter().any(|name| name.starts_with("var"));
    let pairs = tokens.windows(2).enumerate();
    pairs
        .filter(|(at, pair)| pair[0].1 == "env" && pair[1].1 == "::" && reads(at + 2))
        .map(|(_, pair)| pair[0].0)
        .collect()
}

/// The first names of the paths that begin at a token: one, or those of a group in braces.
fn first_names(tokens: &[(usize, &str)], start: usize) -> Vec<String> {
    let Some((_, first)) = tokens.get(start) else { return Vec::new() };
    if *first != "{" {
        return vec![(*first).to_owned()];
    }
    let mut depth = 0;
    let mut names = Vec::new();
    for (at, (_, token)) in tokens.iter().enumerate().skip(start) {
        match *token {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," | "self" => {}
            name if depth == 1 && ["{", ","].contains(&tokens[at - 1].1) => names.push(name.to_owned()),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// Words, `::` and single signs, each with its line, counted from 1.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let length = match word {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                _ => word,
            };
            tokens.push((line + 1, &rest[..length]));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

#[test]
fn comments_and_literals_are_no_code() {
    let check = |source: &str, expected: &str| {
        let code = code_only(source);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{source:?}");
        assert_eq!(code.lines().count(), source.lines().count(), "{source:?} keeps its lines");
    };
    check("a // b\nc", "a c");
    check("a /* b /* c */ d */ e", "a e");
    check(r#"a("b \" // c", d)"#, "a( , d)");
    check("a(r#\"b \" c\"#, br\"\\\", d)", "a( , , d)");
    check(r"a('\'', '/', b'\\', d)", "a( , , b , d)");
    check("fn a<'b>(c: &'b str) -> &'b str", "fn a<'b>(c: &'b str) -> &'b str");
    check("var\"x\"", "var");
}
