//! Colours for SQL: keywords, names in backticks, texts, numbers, comments.

use nu_ansi_term::{Color, Style};
use reedline::StyledText;

use super::{
    keywords::is_keyword,
    lexer::{Kind, Token, tokens},
};

/// reedline's question.
pub struct Highlighter;

impl reedline::Highlighter for Highlighter {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        let mut styled = StyledText::new();
        for token in tokens(line) {
            styled.push((style(&token), token.text.to_owned()));
        }
        styled
    }
}

fn style(token: &Token<'_>) -> Style {
    match token.kind {
        Kind::Word if is_keyword(token.text) => Style::new().fg(Color::Blue).bold(),
        Kind::Text => Style::new().fg(Color::Green),
        Kind::Name => Style::new().fg(Color::Cyan),
        Kind::Number => Style::new().fg(Color::Magenta),
        Kind::Comment => Style::new().fg(Color::DarkGray),
        _ => Style::new(),
    }
}
