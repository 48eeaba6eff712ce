//! Flink's dialect for sqlparser: identifiers, literals, and the expressions that only Flink writes so.

use std::any::TypeId;

use sqlparser::{
    ast::{
        CastKind, CharacterLength, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
        FunctionArgumentList, FunctionArguments, Ident, ObjectName, Value,
    },
    dialect::{Dialect, GenericDialect},
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::Token,
};

use crate::{
    functions::syntax,
    sql_type::{self, SqlType},
    words::{expect_words, is_word, take_word, take_words},
};

/// The function that stands for `TABLE t` as an argument.
pub const TABLE_ARGUMENT: &str = "__table";

/// Flink SQL.
#[derive(Debug, Default)]
pub struct FlinkDialect;

impl Dialect for FlinkDialect {
    /// The parser asks for this where it has no question of its own; the generic dialect's answers fit Flink best.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`' || ch == '"'
    }

    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        Some('`')
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_' || ch == '$'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn supports_named_fn_args_with_rarrow_operator(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    fn supports_boolean_literals(&self) -> bool {
        true
    }

    /// Words that Flink reserves and that begin expressions of their own. Of others the parser, where such an expression is wrong, reads all of
    /// it again as a name with arguments: of what nests in each other, each level twice as often as the one around it.
    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        use Keyword::*;
        matches!(
            keyword,
            ARRAY
                | CASE
                | CAST
                | CEIL
                | CONVERT
                | EXISTS
                | EXTRACT
                | FLOOR
                | INTERVAL
                | NOT
                | OVERLAY
                | POSITION
                | SUBSTRING
                | TRIM
        )
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let Token::Word(word) = &parser.peek_token_ref().token else { return None };
        if word.quote_style.is_some() {
            return None;
        }
        let following = &parser.peek_nth_token_ref(1).token;
        let is = |name: &str| word.value.eq_ignore_ascii_case(name);
        let is_interval = is("INTERVAL");
        if is("TABLE") && matches!(following, Token::Word(_)) {
            Some(table_argument(parser))
        } else if is("ROW") && *following == Token::LParen {
            Some(row_constructor(parser))
        } else if is("CAST") && *following == Token::LParen {
            Some(cast(parser, CastKind::Cast))
        } else if is("TRY_CAST") && *following == Token::LParen {
            Some(cast(parser, CastKind::TryCast))
        } else if is("SAFE_CAST") && *following == Token::LParen {
            let text =
                format!("`SAFE_CAST` is not there: use `TRY_CAST`{}", parser.peek_token_ref().span.start);
            Some(Err(ParserError::ParserError(text)))
        } else if is("SUBSTR") && *following == Token::LParen {
            Some(parser.parse_substring())
        } else if let Some(read) = syntax::parse_prefix(parser) {
            Some(read)
        } else if is_interval {
            // The parser would try it as a type's name first, and then again.
            parser.next_token();
            Some(parser.parse_interval())
        } else {
            None
        }
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        left: &Expr,
        _precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        syntax::parse_infix(parser, left)
    }
}

/// `TABLE t [PARTITION BY k, ...]` as the argument of a table function.
fn table_argument(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    parser.next_token();
    let name = parser.parse_object_name(false)?;
    let idents = name.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
    let mut arguments = vec![Expr::CompoundIdentifier(idents)];
    if take_words(parser, &["PARTITION", "BY"]) {
        arguments.push(Expr::Identifier(parser.parse_identifier()?));
        while next_is_partition_key(parser) {
            parser.next_token();
            arguments.push(Expr::Identifier(parser.parse_identifier()?));
        }
    }
    Ok(call(TABLE_ARGUMENT, arguments))
}

/// After `PARTITION BY a`: whether `, b` goes on with the keys rather than with the next argument.
fn next_is_partition_key(parser: &Parser<'_>) -> bool {
    let [comma, name, after] = [0, 1, 2].map(|position| parser.peek_nth_token_ref(position));
    comma.token == Token::Comma
        && matches!(&name.token, Token::Word(_))
        && !is_word(name, "DESCRIPTOR")
        && !is_word(name, "INTERVAL")
        && !matches!(after.token, Token::LParen | Token::RArrow)
}

/// `ROW(a, b, ...)`
fn row_constructor(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    parser.next_token();
    parser.expect_token(&Token::LParen)?;
    let fields = parser.parse_comma_separated(Parser::parse_expr)?;
    parser.expect_token(&Token::RParen)?;
    let named = fields.into_iter().enumerate().flat_map(|(position, field)| {
        [Expr::value(Value::SingleQuotedString(format!("EXPR${position}"))), field]
    });
    Ok(call("named_struct", named.collect()))
}

/// `CAST(expr AS type)`, with Flink's types. The type travels as its text, which the planner's type hook reads back.
fn cast(parser: &mut Parser<'_>, kind: CastKind) -> Result<Expr, ParserError> {
    parser.next_token();
    parser.expect_token(&Token::LParen)?;
    let expr = parser.parse_expr()?;
    expect_words(parser, &["AS"])?;
    let sql_type = sql_type::next_type(parser)?;
    // A cast may say that its result is not NULL; that is for its input to decide.
    let _ = take_words(parser, &["NOT", "NULL"]) || take_word(parser, "NULL");
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Cast { kind, expr: Box::new(expr), data_type: carried(&sql_type), array: false, format: None })
}

/// A type as an AST node: its text, but for those whose length is cut to by a function.
fn carried(sql_type: &SqlType) -> DataType {
    let length =
        |length: &u32| Some(CharacterLength::IntegerLength { length: u64::from(*length), unit: None });
    match sql_type {
        SqlType::Char(characters) => return DataType::Char(length(characters)),
        SqlType::Varchar(characters) => return DataType::Varchar(length(characters)),
        _ => {}
    }
    DataType::Custom(ObjectName::from(vec![Ident::with_quote('`', sql_type.to_string())]), Vec::new())
}

/// A call of a function.
pub fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
