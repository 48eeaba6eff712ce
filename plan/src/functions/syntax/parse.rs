//! Expressions that `sqlparser` cannot read by itself. The dialect asks here first.

use sqlparser::{
    ast::{Expr, UnaryOperator},
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::Token,
};

use super::{call, json, text};

const JSON_FUNCTIONS: [&str; 7] = [
    "JSON_EXISTS",
    "JSON_VALUE",
    "JSON_QUERY",
    "JSON_OBJECT",
    "JSON_ARRAY",
    "JSON_OBJECTAGG",
    "JSON_ARRAYAGG",
];

/// Parses an expression that starts with a word of Flink's own: a SQL/JSON function, or `MAP[...]`.
pub fn parse_prefix(parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
    let [first, second] = parser.peek_tokens();
    let Token::Word(word) = first else { return None };
    if word.quote_style.is_some() {
        return None;
    }
    let name = word.value.to_ascii_uppercase();
    match second {
        Token::LParen if JSON_FUNCTIONS.contains(&name.as_str()) => {
            skip_two(parser);
            Some(json::parse_call(parser, &name))
        }
        Token::LParen if name == "TRIM" => trim_without_characters(parser),
        Token::LBracket if name == "MAP" => {
            skip_two(parser);
            Some(map_entries(parser))
        }
        _ => None,
    }
}

/// Parses `value IS [NOT] JSON [VALUE | SCALAR | ARRAY | OBJECT]`.
pub fn parse_infix(parser: &mut Parser, value: &Expr) -> Option<Result<Expr, ParserError>> {
    let negated = match parser.peek_tokens::<3>() {
        [Token::Word(is), Token::Word(json), _]
            if is.keyword == Keyword::IS && json.keyword == Keyword::JSON =>
        {
            false
        }
        [Token::Word(is), Token::Word(not), Token::Word(json)]
            if is.keyword == Keyword::IS && not.keyword == Keyword::NOT && json.keyword == Keyword::JSON =>
        {
            true
        }
        _ => return None,
    };
    (0..2 + usize::from(negated)).for_each(|_| parser.advance_token());
    let kinds = ["VALUE", "SCALAR", "ARRAY", "OBJECT"];
    let kind = kinds.into_iter().find(|kind| json::word(parser, kind)).unwrap_or("VALUE");
    let test = call("is_json", [value.clone(), text(kind)]);
    Some(Ok(match negated {
        true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(test) },
        false => test,
    }))
}

/// `TRIM([BOTH | LEADING | TRAILING] FROM string)`; with characters `sqlparser` reads it.
fn trim_without_characters(parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
    let [_, _, side, from] = parser.peek_tokens();
    let (Token::Word(side), Token::Word(from)) = (side, from) else { return None };
    let function = match (side.keyword, from.keyword) {
        (Keyword::BOTH, Keyword::FROM) => "btrim",
        (Keyword::LEADING, Keyword::FROM) => "ltrim",
        (Keyword::TRAILING, Keyword::FROM) => "rtrim",
        _ => return None,
    };
    skip_two(parser);
    skip_two(parser);
    let string = parser.parse_expr();
    Some(string.and_then(|string| parser.expect_token(&Token::RParen).map(|_| call(function, [string]))))
}

fn map_entries(parser: &mut Parser) -> Result<Expr, ParserError> {
    let entries = match parser.consume_token(&Token::RBracket) {
        true => vec![],
        false => {
            let entries = parser.parse_comma_separated(Parser::parse_expr)?;
            parser.expect_token(&Token::RBracket)?;
            entries
        }
    };
    Ok(call("make_map", entries))
}

fn skip_two(parser: &mut Parser) {
    parser.advance_token();
    parser.advance_token();
}
