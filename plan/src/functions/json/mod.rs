//! SQL/JSON over text. The clauses in the calls (`RETURNING`, `ON EMPTY`, ...) arrive as arguments, put there by
//! [`syntax`](super::syntax).

mod construct;
mod path;
mod query;
mod quote;
mod value;
mod write;

use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};

use super::{
    argument::Kind::{Any, Text},
    builtin::Builtin,
};

pub use value::write_string;
pub use write::JsonWriter;

/// The JSON functions.
pub fn functions() -> Vec<Builtin> {
    vec![
        Builtin::new("is_json", "string IS [NOT] JSON [VALUE | SCALAR | ARRAY | OBJECT]", "Whether it is JSON (of a kind).", query::is_json)
            .takes(&[Text, Text])
            .returns(DataType::Boolean),
        Builtin::new("json_exists", "JSON_EXISTS(json, path [{TRUE | FALSE | UNKNOWN | ERROR} ON ERROR])", "Whether the path leads to a value.", query::exists)
            .takes(&[Text, Text, Text])
            .returns(DataType::Boolean),
        Builtin::new(
            "json_value",
            "JSON_VALUE(json, path [RETURNING type] [{NULL | ERROR | DEFAULT value} ON EMPTY] [{NULL | ERROR | DEFAULT value} ON ERROR])",
            "The scalar at the path.",
            query::value,
        )
        .takes(&[Text, Text, Any, Text, Any, Text, Any])
        .returns_by(third),
        Builtin::new(
            "json_query",
            "JSON_QUERY(json, path [RETURNING type] [{WITHOUT | WITH [CONDITIONAL | UNCONDITIONAL]} ARRAY WRAPPER] [... ON EMPTY] [... ON ERROR])",
            "The object or array at the path, as text.",
            query::query,
        )
        .takes(&[Text, Text, Any, Text, Text, Text])
        .returns_by(third),
        Builtin::new("json_object", "JSON_OBJECT([KEY] key VALUE value, ... [{NULL | ABSENT} ON NULL])", "An object, as text.", construct::object)
            .takes_checked(construct::object_arguments),
        Builtin::new("json_array", "JSON_ARRAY(value, ... [{NULL | ABSENT} ON NULL])", "An array, as text.", construct::array)
            .takes_checked(construct::array_arguments),
        Builtin::new("json_string", "JSON_STRING(value)", "Any value as JSON text.", construct::string).takes(&[Any]),
        Builtin::new("json", "JSON(string)", "JSON text, to be put into JSON_OBJECT or JSON_ARRAY as it is.", construct::json).takes(&[Text]),
        Builtin::new("json_quote", "JSON_QUOTE(string)", "As a JSON string in ASCII.", quote::quote).takes(&[Text]),
        Builtin::new("json_unquote", "JSON_UNQUOTE(string)", "The value of a JSON string; other text as it is.", quote::unquote).takes(&[Text]),
    ]
}

fn third(types: &[DataType]) -> Result<DataType> {
    types.get(2).map_or_else(|| plan_err!("an argument is missing"), |third| Ok(third.clone()))
}
