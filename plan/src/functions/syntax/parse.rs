//! Expressions that `sqlparser` cannot read by itself. The dialect asks here first.

use sqlparser::{
    ast::{BinaryOperator, CaseWhen, Expr, UnaryOperator, helpers::attached_token::AttachedToken},
    dialect::{Dialect, GenericDialect, Precedence},
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
    if word.keyword == Keyword::CASE {
        return Some(case(parser));
    }
    match second {
        Token::LParen if JSON_FUNCTIONS.contains(&name.as_str()) => {
            skip_two(parser);
            Some(json::parse_call(parser, &name))
        }
        Token::LParen if name == "POSITION" => {
            skip_two(parser);
            Some(position(parser))
        }
        Token::LParen if name == "TRIM" => trim_without_characters(parser),
        Token::LBracket if name == "MAP" => {
            skip_two(parser);
            Some(map_entries(parser))
        }
        _ => None,
    }
}

/// Parses what follows a value: `IS [NOT] JSON`, `[NOT] BETWEEN SYMMETRIC`.
pub fn parse_infix(parser: &mut Parser, value: &Expr) -> Option<Result<Expr, ParserError>> {
    is_json(parser, value).or_else(|| between(parser, value))
}

/// `value [NOT] BETWEEN {SYMMETRIC | ASYMMETRIC} low AND high`: symmetric means that the ends may come in any order.
fn between(parser: &mut Parser, value: &Expr) -> Option<Result<Expr, ParserError>> {
    let [first, second, third] = parser.peek_tokens();
    let is = |token: &Token, name: &str| matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(name));
    let negated = is(&first, "NOT");
    let (between, symmetry) = if negated { (second, third) } else { (first, second) };
    let symmetric = is(&symmetry, "SYMMETRIC");
    if !is(&between, "BETWEEN") || !(symmetric || is(&symmetry, "ASYMMETRIC")) {
        return None;
    }
    (0..2 + usize::from(negated)).for_each(|_| parser.advance_token());
    Some(ends(parser).map(|(low, high)| {
        let from_to = |low: &Expr, high: &Expr| Expr::Between {
            expr: Box::new(value.clone()),
            negated: false,
            low: Box::new(low.clone()),
            high: Box::new(high.clone()),
        };
        let test = match symmetric {
            true => Expr::BinaryOp {
                left: Box::new(from_to(&low, &high)),
                op: BinaryOperator::Or,
                right: Box::new(from_to(&high, &low)),
            },
            false => from_to(&low, &high),
        };
        let test = Expr::Nested(Box::new(test));
        if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(test) } } else { test }
    }))
}

/// `low AND high`
fn ends(parser: &mut Parser) -> Result<(Expr, Expr), ParserError> {
    let precedence = GenericDialect.prec_value(Precedence::Between);
    let low = parser.parse_subexpr(precedence)?;
    parser.expect_keyword(Keyword::AND)?;
    Ok((low, parser.parse_subexpr(precedence)?))
}

/// `value IS [NOT] JSON [VALUE | SCALAR | ARRAY | OBJECT]`
fn is_json(parser: &mut Parser, value: &Expr) -> Option<Result<Expr, ParserError>> {
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

/// `CASE value WHEN a, b THEN ...`: one branch for several values.
fn case(parser: &mut Parser) -> Result<Expr, ParserError> {
    let case_token = AttachedToken(parser.next_token());
    let operand = match parser.peek_keyword(Keyword::WHEN) {
        true => None,
        false => Some(Box::new(parser.parse_expr()?)),
    };
    let mut conditions = vec![];
    while parser.parse_keyword(Keyword::WHEN) {
        let cases = match operand {
            Some(_) => parser.parse_comma_separated(Parser::parse_expr)?,
            None => vec![parser.parse_expr()?],
        };
        parser.expect_keyword(Keyword::THEN)?;
        let result = parser.parse_expr()?;
        conditions.extend(cases.into_iter().map(|condition| CaseWhen { condition, result: result.clone() }));
    }
    if conditions.is_empty() {
        return parser.expected("WHEN", parser.peek_token());
    }
    let else_result = match parser.parse_keyword(Keyword::ELSE) {
        true => Some(Box::new(parser.parse_expr()?)),
        false => None,
    };
    let end_token = AttachedToken(parser.expect_keyword(Keyword::END)?);
    Ok(Expr::Case { case_token, end_token, operand, conditions, else_result })
}

/// `POSITION(search IN string [FROM start])`
fn position(parser: &mut Parser) -> Result<Expr, ParserError> {
    let search = parser.parse_subexpr(GenericDialect.prec_value(Precedence::Between))?;
    parser.expect_keyword(Keyword::IN)?;
    let string = parser.parse_expr()?;
    let start = match parser.parse_keyword(Keyword::FROM) {
        true => Some(parser.parse_expr()?),
        false => None,
    };
    parser.expect_token(&Token::RParen)?;
    Ok(match start {
        Some(start) => call("locate", [search, string, start]),
        None => call("position", [search, string]),
    })
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
