//! Rust source without what is not code: comments, literals and tests. Lines stay where they are.

/// Blanks comments, the contents of string and character literals, and items under `#[cfg(test)]`.
pub(super) fn code_only(text: &str) -> String {
    let mut code = blank_literals(text);
    while let Some(start) = code.find("#[cfg(test)]") {
        let end = start + item_length(&code[start..]);
        let blank: String = code[start..end].chars().map(blank).collect();
        code.replace_range(start..end, &blank);
    }
    code
}

fn blank(c: char) -> char {
    if c == '\n' { c } else { ' ' }
}

/// The length of the item at the beginning of `code`: up to its closing brace, or to its semicolon.
fn item_length(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

fn blank_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let in_name = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let length = literal_length(rest, in_name);
        if length == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(blank));
            rest = &rest[length..];
        }
    }
    code
}

/// The length of the comment or literal at the beginning of `text`; 0 where there is none.
/// `in_name`: a name ends right before, so that an `r` or `b` here begins no literal.
fn literal_length(text: &str, in_name: bool) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment_length(text);
    }
    let prefix = text.find(|c| c != 'b' && c != 'r' && c != 'c').unwrap_or(text.len());
    if prefix <= 2 && !(in_name && prefix > 0) {
        let body = &text[prefix..];
        let length = if text[..prefix].contains('r') {
            raw_string_length(body)
        } else if body.starts_with('"') {
            quoted_length(body, '"')
        } else {
            character_length(body)
        };
        if length > 0 {
            return prefix + length;
        }
    }
    0
}

fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(c) = text[at..].chars().next() {
        let two = if text[at..].starts_with("/*") {
            depth += 1;
            true
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            true
        } else {
            false
        };
        at += if two { 2 } else { c.len_utf8() };
        if depth == 0 {
            break;
        }
    }
    at
}

/// `#"..."#` with any number of signs.
fn raw_string_length(text: &str) -> usize {
    let signs = text.find(|c| c != '#').unwrap_or(0);
    if !text[signs..].starts_with('"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(signs));
    let body = &text[signs + 1..];
    body.find(&close).map_or(text.len(), |end| signs + 1 + end + close.len())
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// `'x'` or `'\n'`, and not the lifetime `'x`.
fn character_length(text: &str) -> usize {
    let mut characters = text.chars();
    if characters.next() != Some('\'') {
        return 0;
    }
    match (characters.next(), characters.next()) {
        (Some('\\'), _) => quoted_length(text, '\''),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::code_only;

    fn words(text: &str) -> Vec<String> {
        code_only(text).split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn comments_and_literals_go() {
        assert_eq!(words("a // b\nc"), ["a", "c"]);
        assert_eq!(words("a /* b /* c */ d */ e"), ["a", "e"]);
        assert_eq!(words(r#"a "b \" c" d"#), ["a", "d"]);
        assert_eq!(words("a r#\"b \" c\"# d b\"e\" f"), ["a", "d", "f"]);
        assert_eq!(words(r"a '\'' b '\u{7f}' c 'd' e"), ["a", "b", "c", "e"]);
    }

    #[test]
    fn lifetimes_and_names_stay() {
        assert_eq!(words("fn f<'a>(x: &'a str) {}"), ["fn", "f<'a>(x:", "&'a", "str)", "{}"]);
        assert_eq!(words("number r br xb"), ["number", "r", "br", "xb"]);
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = "a\n/* b\nc */\n\"d\ne\"\nf\n#[cfg(test)]\nmod tests {\n}\ng\n";
        let code = code_only(text);
        assert_eq!(code.lines().count(), text.lines().count());
        assert_eq!(code.lines().nth(5), Some("f"));
        assert_eq!(code.lines().nth(9), Some("g"));
    }

    #[test]
    fn items_for_tests_go_with_their_braces() {
        assert_eq!(words("a #[cfg(test)] mod t { fn f() { b } } c"), ["a", "c"]);
        assert_eq!(words("a #[cfg(test)] use b; c"), ["a", "c"]);
    }
}
