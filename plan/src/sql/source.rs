//! The text of one statement and where it starts in its script: from places to text and back.

use sqlparser::tokenizer::{Location, Span, TokenWithSpan};
use thalweg_graph::sql_error::Position;

/// A statement's text, with the place of its first character in the script.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The text.
    pub text: &'a str,
    /// Where it starts.
    pub start: Position,
}

impl<'a> Source<'a> {
    /// A text that is a script of its own.
    pub fn new(text: &'a str) -> Self {
        Self { text, start: Position { line: 1, column: 1 } }
    }

    /// Moves a span that counts from the text's start so that it counts from the script's start.
    pub fn shift(&self, span: Span) -> Span {
        Span::new(self.shift_location(span.start), self.shift_location(span.end))
    }

    fn shift_location(&self, at: Location) -> Location {
        if at.line == 0 {
            return at; // the place of no token
        }
        let column = if at.line == 1 { at.column + self.start.column - 1 } else { at.column };
        Location::new(at.line + self.start.line - 1, column)
    }

    /// The place after the text's last character.
    pub fn end(&self) -> Position {
        let text = self.text.trim_end();
        let lines = text.matches('\n').count() as u64;
        let last = text.rsplit('\n').next().unwrap_or_default().chars().count() as u64;
        let column = if lines == 0 { self.start.column + last } else { last + 1 };
        Position { line: self.start.line + lines, column }
    }

    /// The text between two places of the script.
    pub fn between(&self, start: Location, end: Location) -> &'a str {
        let (start, end) = (self.offset(start), self.offset(end));
        self.text.get(start..end).unwrap_or_default().trim_end()
    }

    fn offset(&self, at: Location) -> usize {
        let lines_before = at.line.saturating_sub(self.start.line) as usize;
        let first_column = if lines_before == 0 { self.start.column } else { 1 };
        let line_start = match lines_before {
            0 => 0,
            count => self.text.match_indices('\n').nth(count - 1).map_or(self.text.len(), |(at, _)| at + 1),
        };
        let columns = at.column.saturating_sub(first_column) as usize;
        let rest = &self.text[line_start..];
        line_start + rest.char_indices().nth(columns).map_or(rest.len(), |(offset, _)| offset)
    }
}

/// The place of a token.
pub fn position(token: &TokenWithSpan) -> Position {
    position_of(token.span.start)
}

/// A location as a position.
pub fn position_of(location: Location) -> Position {
    Position { line: location.line, column: location.column }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_the_script_find_their_text() {
        let source = Source { text: "SELECT ä,\n  b FROM t", start: Position { line: 7, column: 5 } };
        let (start, end) = (Location::new(7, 12), Location::new(8, 4));
        assert_eq!(source.between(start, end), "ä,\n  b");
        assert_eq!(source.shift(Span::new(Location::new(1, 8), Location::new(2, 4))), Span::new(start, end));
    }
}
