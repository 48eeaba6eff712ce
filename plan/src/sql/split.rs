//! Finds the statements of a script in one pass over its bytes, without tokens, so that a huge script costs what it must.

use std::ops::Range;

use thalweg_graph::sql_error::Position;

/// A statement's text, by its bytes, and where it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its bytes in the script, without white space around it.
    pub range: Range<usize>,
    /// The place of its first character.
    pub position: Position,
}

/// Splits a script at its semicolons, but not at those in strings, names, comments and statement sets.
pub fn split(script: &str) -> Vec<Piece> {
    let mut scanner = Scanner { script, at: 0, line: 1, counted_to: 0, counted_chars: 0 };
    let mut pieces: Vec<Piece> = Vec::new();
    let mut set: Option<Piece> = None;
    while let Some(piece) = scanner.next_piece() {
        let first = first_words(&script[piece.range.clone()]);
        let piece = match set.take() {
            Some(mut open) => {
                open.range.end = piece.range.end;
                if first.first().is_some_and(|word| word == "END") {
                    open
                } else {
                    set = Some(open);
                    continue;
                }
            }
            None if opens_set(&first) => {
                set = Some(piece);
                continue;
            }
            None => piece,
        };
        pieces.push(piece);
    }
    pieces.extend(set); // not closed: the parser says so
    pieces
}

/// Whether a statement that starts with these words goes on over semicolons until `END`.
fn opens_set(words: &[String]) -> bool {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    matches!(words[..], ["BEGIN", "STATEMENT", "SET", ..])
        || words.windows(3).any(|words| words == ["STATEMENT", "SET", "BEGIN"])
}

/// The first words of a statement in upper case, past comments and commas: enough to know an `EXPLAIN` of a statement set.
fn first_words(text: &str) -> Vec<String> {
    const ENOUGH: usize = 8;
    let mut words = Vec::new();
    let mut rest = text;
    while words.len() < ENOUGH {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else {
            let length =
                rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
            if length == 0 {
                break;
            }
            words.push(rest[..length].to_ascii_uppercase());
            rest = &rest[length..];
        }
    }
    words
}

struct Scanner<'a> {
    script: &'a str,
    at: usize,
    line: u64,
    /// How far the characters of this line are counted, so that each is counted once.
    counted_to: usize,
    counted_chars: u64,
}

impl Scanner<'_> {
    /// The next text before a semicolon or the end that has more than white space and comments.
    fn next_piece(&mut self) -> Option<Piece> {
        let bytes = self.script.as_bytes();
        let mut first: Option<(usize, Position)> = None;
        let mut end = self.at;
        while self.at < bytes.len() {
            let (start, byte) = (self.at, bytes[self.at]);
            match byte {
                b';' => {
                    self.at += 1;
                    if let Some((first, position)) = first {
                        return Some(Piece { range: first..end, position });
                    }
                    continue;
                }
                b'\n' => {
                    self.newline();
                    continue;
                }
                b' ' | b'\t' | b'\r' => {
                    self.at += 1;
                    continue;
                }
                b'-' if bytes[start..].starts_with(b"--") => {
                    self.skip_line();
                    continue;
                }
                b'/' if bytes[start..].starts_with(b"/*") => {
                    self.skip_block_comment();
                    // A hint is part of the statement, even at its end.
                    if first.is_some() && bytes[start..].starts_with(b"/*+") {
                        end = self.at;
                    }
                    continue;
                }
                _ => {}
            }
            if first.is_none() {
                first = Some((start, self.position()));
            }
            match byte {
                b'\'' => self.skip_quoted(b'\'', is_escape_string(&bytes[..start])),
                b'`' | b'"' => self.skip_quoted(byte, false),
                _ => self.at += 1,
            }
            end = self.at;
        }
        first.map(|(first, position)| Piece { range: first..end, position })
    }

    fn position(&mut self) -> Position {
        self.counted_chars += self.script[self.counted_to..self.at].chars().count() as u64;
        self.counted_to = self.at;
        Position { line: self.line, column: self.counted_chars + 1 }
    }

    fn newline(&mut self) {
        self.at += 1;
        self.line += 1;
        self.counted_to = self.at;
        self.counted_chars = 0;
    }

    fn skip_line(&mut self) {
        let rest = &self.script.as_bytes()[self.at..];
        self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }

    fn skip_block_comment(&mut self) {
        let bytes = self.script.as_bytes();
        self.at += 2;
        while self.at < bytes.len() {
            match bytes[self.at] {
                b'\n' => self.newline(),
                b'*' if bytes.get(self.at + 1) == Some(&b'/') => {
                    self.at += 2;
                    return;
                }
                _ => self.at += 1,
            }
        }
    }

    /// Skips what stands between two quotes. A doubled quote is two strings side by side, which comes to the same.
    fn skip_quoted(&mut self, quote: u8, escapes: bool) {
        let bytes = self.script.as_bytes();
        self.at += 1;
        while self.at < bytes.len() {
            match bytes[self.at] {
                b'\n' => self.newline(),
                b'\\' if escapes => self.at = (self.at + 2).min(bytes.len()),
                byte if byte == quote => {
                    self.at += 1;
                    return;
                }
                _ => self.at += 1,
            }
        }
    }
}

/// Whether the text before a quote makes it the start of `e'...'`, in which a backslash escapes.
fn is_escape_string(before: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    match before {
        [.., previous, b'e' | b'E'] => !is_part(previous),
        [b'e' | b'E'] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(script: &str) -> Vec<&str> {
        split(script).into_iter().map(|piece| &script[piece.range]).collect()
    }

    #[test]
    fn semicolons_in_strings_names_and_comments_do_not_split() {
        let script = "SELECT 'a;''b', `c;d`; -- e; f\n/* g; */ SELECT e'h\\';i' ; ;;\nSELECT 1";
        assert_eq!(texts(script), ["SELECT 'a;''b', `c;d`", "SELECT e'h\\';i'", "SELECT 1"]);
    }

    #[test]
    fn a_statement_set_is_one_statement() {
        let set = "EXECUTE STATEMENT SET BEGIN\nINSERT INTO a SELECT 1;\nINSERT INTO b SELECT 2;\nEND";
        let old = "BEGIN STATEMENT SET; INSERT INTO a SELECT 1; END";
        let explained = "EXPLAIN ESTIMATED_COST, PLAN_ADVICE STATEMENT SET BEGIN INSERT INTO a SELECT 1; END";
        assert_eq!(
            texts(&format!("{set};\n{old}; {explained};SELECT 3;")),
            [set, old, explained, "SELECT 3"]
        );
    }

    #[test]
    fn statements_know_their_place() {
        let pieces = split("SELECT 1;\n\n  -- ä\n  SELECT\n2; SELECT 'ü\n'; ä");
        let places: Vec<_> =
            pieces.iter().map(|piece| (piece.position.line, piece.position.column)).collect();
        assert_eq!(places, [(1, 1), (4, 3), (5, 4), (6, 4)]);
    }

    #[test]
    fn many_statements_on_one_line_are_counted_once() {
        let pieces = split(&"SET;".repeat(200_000));
        assert_eq!(pieces.last().map(|last| last.position.column), Some(4 * 200_000 - 3));
    }

    #[test]
    fn what_never_ends_is_one_statement() {
        assert_eq!(texts("SELECT 'a; b"), ["SELECT 'a; b"]);
        assert_eq!(texts("SELECT 1 /* a; b"), ["SELECT 1"]);
        assert_eq!(texts("EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1;").len(), 1);
        assert_eq!(texts("SELECT * FROM t /*+ OPTIONS('k'=';') */ /* x */;").len(), 1);
        assert!(texts("SELECT * FROM t /*+ OPTIONS('k'=';') */ /* x */")[0].ends_with("') */"));
        assert!(texts(" ; -- nothing\n;/* at all */").is_empty());
    }
}
