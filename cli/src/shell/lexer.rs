//! SQL text cut into tokens, as far as colouring, completion and "is the statement over" need it. Never fails: what is not closed
//! yet runs to the end of the text.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A keyword, a name, a function.
    Word,
    /// A name in backticks.
    Name,
    /// `'...'`
    Text,
    /// `-- ...` or `/* ... */`
    Comment,
    /// A number.
    Number,
    /// `;`
    Semicolon,
    /// Blanks and line breaks.
    Space,
    /// Anything else, a character each.
    Symbol,
}

/// A token and where it starts, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its first byte.
    pub start: usize,
    /// Its text.
    pub text: &'a str,
    /// Whether its closing quote or comment end is there.
    pub closed: bool,
}

impl Token<'_> {
    /// Whether it is the given keyword, in any case.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }
}

/// Cuts a text into tokens; together they are the whole text.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let (kind, length, closed) = next(&text[start..]);
        tokens.push(Token { kind, start, text: &text[start..start + length], closed });
        start += length;
    }
    tokens
}

/// The kind and length of the first token of a text that is not empty, and whether it is closed.
fn next(text: &str) -> (Kind, usize, bool) {
    let first = text.chars().next().unwrap_or(' ');
    let run = |accept: fn(char) -> bool| text.find(|c| !accept(c)).unwrap_or(text.len());
    match first {
        '\'' => quoted(Kind::Text, text, '\''),
        '`' => quoted(Kind::Name, text, '`'),
        '-' if text.starts_with("--") => (Kind::Comment, text.find('\n').unwrap_or(text.len()), true),
        '/' if text.starts_with("/*") => match text[2..].find("*/") {
            Some(end) => (Kind::Comment, end + 4, true),
            None => (Kind::Comment, text.len(), false),
        },
        ';' => (Kind::Semicolon, 1, true),
        c if c.is_whitespace() => (Kind::Space, run(char::is_whitespace), true),
        c if c.is_alphabetic() || c == '_' => {
            (Kind::Word, run(|c| c.is_alphanumeric() || c == '_' || c == '$'), true)
        }
        c if c.is_ascii_digit() => (Kind::Number, run(|c| c.is_ascii_alphanumeric() || c == '.'), true),
        c => (Kind::Symbol, c.len_utf8(), true),
    }
}

/// A doubled quote stands for itself.
fn quoted(kind: Kind, text: &str, quote: char) -> (Kind, usize, bool) {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((position, c)) = chars.next() {
        if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return (kind, position + 1, true);
        }
    }
    (kind, text.len(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_whole_text() {
        let text = "SELECT `a``b`, 'it''s; -- no' FROM t1 -- end;\nWHERE x >= 1.5e3 /* open ;";
        let tokens = tokens(text);
        assert_eq!(tokens.iter().map(|token| token.text).collect::<String>(), text);
        let kinds = |kind| {
            tokens.iter().filter(|token| token.kind == kind).map(|token| token.text).collect::<Vec<_>>()
        };
        assert_eq!(kinds(Kind::Name), ["`a``b`"]);
        assert_eq!(kinds(Kind::Text), ["'it''s; -- no'"]);
        assert_eq!(kinds(Kind::Comment), ["-- end;", "/* open ;"]);
        assert_eq!(kinds(Kind::Number), ["1.5e3"]);
        assert!(kinds(Kind::Semicolon).is_empty());
        assert!(!tokens.last().unwrap().closed);
    }
}
