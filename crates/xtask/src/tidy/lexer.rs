//! Just enough of Rust's lexical grammar to tell code from comments and texts.
//!
//! Must not understand more: the checks ask for words in code, nothing deeper.

/// `text` with comments and the insides of string and character literals blanked out, line by line
/// as before, and everything from the first `#[cfg(test)]` on cut off.
#[must_use]
pub fn product_code(text: &str) -> String {
    let code = code(text);
    match code.find("#[cfg(test)]") {
        Some(at) => code[..at].to_owned(),
        None => code,
    }
}

/// `text` with comments and the insides of literals blanked out; lines stay where they were.
#[must_use]
pub fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous = ' ';
    while let Some(first) = rest.chars().next() {
        let skip = comment(rest).or_else(|| literal(rest, previous));
        let taken = skip.unwrap_or(first.len_utf8());
        if skip.is_some() {
            out.push(' ');
            out.extend(rest[..taken].chars().filter(|c| *c == '\n'));
        } else {
            out.push(first);
        }
        previous = first;
        rest = &rest[taken..];
    }
    out
}

/// Whether `word` stands alone in `code`: not as part of a longer name.
#[must_use]
pub fn has_word(code: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(is_name);
        let after = code[at + word.len()..].chars().next().is_some_and(is_name);
        !before && !after
    })
}

fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0usize, 0usize);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(rest.len())
}

fn literal(rest: &str, previous: char) -> Option<usize> {
    let inside_name = previous.is_alphanumeric() || previous == '_';
    if !inside_name && let Some(length) = raw_string(rest) {
        return Some(length);
    }
    if rest.starts_with('"') {
        return Some(quoted(rest, '"'));
    }
    // A lifetime is a quote too; a character literal closes after one character or escape.
    let mut after = rest.strip_prefix('\'')?.chars();
    let closes = match after.next()? {
        '\\' => true,
        _ => after.next() == Some('\''),
    };
    closes.then(|| quoted(rest, '\''))
}

fn raw_string(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let opened = body[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - opened.len();
    Some(opened.find(&close).map_or(rest.len(), |at| start + at + close.len()))
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let text =
            "let a = \"unsafe \\\" x\"; // unsafe\n/* unsafe /* nested */ */ let b = r#\"unsafe\"#;\nlet c = 'u';\n";
        let code = code(text);
        assert!(!code.contains("unsafe"), "{code}");
        assert!(code.contains("let a =") && code.contains("let b =") && code.contains("let c ="));
        assert_eq!(code.lines().count(), text.lines().count());
    }

    #[test]
    fn code_after_tricky_quotes_is_still_seen() {
        for text in [
            "fn f<'a>(x: &'a str) { unsafe { } }",
            "let q = '\"'; unsafe { }",
            "let q = '\\''; unsafe { }",
            "let q = b\"\\\\\"; unsafe { }",
            "let r = br##\"x\"# \"##; unsafe { }",
            "let var\u{e4}r = 1; unsafe { }",
        ] {
            assert!(has_word(&code(text), "unsafe"), "{text}");
        }
    }

    #[test]
    fn words_are_whole_words() {
        assert!(has_word("unsafe {", "unsafe"));
        assert!(!has_word("#![deny(unsafe_code)]", "unsafe"));
        assert!(!has_word("notunsafe", "unsafe"));
    }

    #[test]
    fn test_modules_are_cut_off() {
        let code = product_code("fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }");
        assert!(code.contains("fn a") && !code.contains("fn b"));
    }
}
