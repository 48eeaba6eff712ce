//! Whether Enter ends the input or starts a new line: a statement is over at its `;`, a statement set at its `END;`.

use reedline::ValidationResult;

use super::lexer::{Kind, Token, tokens};

/// Commands that need no `;`.
const BARE: [&str; 5] = ["quit", "exit", "help", "clear", "reset"];

/// reedline's question.
pub struct Validator;

impl reedline::Validator for Validator {
    fn validate(&self, line: &str) -> ValidationResult {
        if is_complete(line) { ValidationResult::Complete } else { ValidationResult::Incomplete }
    }
}

/// Whether a text is nothing, a bare command, or whole statements.
pub fn is_complete(text: &str) -> bool {
    let tokens = tokens(text);
    if tokens.last().is_some_and(|token| !token.closed) {
        return false;
    }
    let tokens: Vec<_> =
        tokens.into_iter().filter(|token| !matches!(token.kind, Kind::Space | Kind::Comment)).collect();
    match tokens.as_slice() {
        [] => true,
        [word] => word.kind == Kind::Semicolon || BARE.iter().any(|bare| word.is_word(bare)),
        [.., last] => last.kind == Kind::Semicolon && !in_statement_set(&tokens),
    }
}

/// Whether the last statement set of the tokens, which end with `;`, has not come to its `END;`.
fn in_statement_set(tokens: &[Token<'_>]) -> bool {
    let mut open = false;
    let mut statement_start = 0;
    for (position, token) in tokens.iter().enumerate() {
        if token.kind != Kind::Semicolon {
            continue;
        }
        let statement = &tokens[statement_start..position];
        statement_start = position + 1;
        open = match statement {
            [first, statement, set, ..] if statement.is_word("statement") && set.is_word("set") => {
                first.is_word("begin") || first.is_word("execute")
            }
            [only] if only.is_word("end") => false,
            _ => open,
        };
    }
    open
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    #[test]
    fn a_statement_is_over_at_its_semicolon() {
        for complete in ["", "  ", "quit", "SELECT 1;", "SELECT ';' ; -- done", "SELECT 1; SELECT 2;", ";"] {
            assert!(is_complete(complete), "{complete}");
        }
        for open in ["SELECT 1", "SELECT ';", "SELECT 1 -- ;", "SELECT 1; SELECT 2", "/* ; ", "SELECT `a;"] {
            assert!(!is_complete(open), "{open}");
        }
    }

    #[test]
    fn a_statement_set_is_over_at_its_end() {
        let set = "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT CASE WHEN x THEN 1 END FROM t;";
        assert!(!is_complete(set));
        assert!(is_complete(&format!("{set} INSERT INTO b SELECT 1; END;")));
        assert!(!is_complete("BEGIN STATEMENT SET;"));
        assert!(is_complete("BEGIN STATEMENT SET; INSERT INTO a SELECT 1; END;"));
    }
}
