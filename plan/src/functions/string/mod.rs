//! String functions.

mod bytes;
mod edit;
mod inet;
mod pad;
mod position;
mod printf;
pub mod regexp;
mod split;
mod substring;
mod test;
mod url;

use arrow::datatypes::DataType;
use datafusion::functions::{string as df, unicode};

use super::{
    argument::Kind::{Any, Bytes, Integer, Text, TextOrBytes},
    builtin::Builtin,
    reuse::Reused,
};

/// DataFusion's string functions that mean what Flink's do.
pub fn reused() -> Vec<Reused> {
    vec![
        Reused::new(
            "char_length",
            "CHAR_LENGTH(string)",
            "Number of characters.",
            unicode::character_length(),
        ),
        Reused::new(
            "character_length",
            "CHARACTER_LENGTH(string)",
            "Number of characters.",
            unicode::character_length(),
        ),
        Reused::new("upper", "UPPER(string)", "In upper case.", df::upper()),
        Reused::new("lower", "LOWER(string)", "In lower case.", df::lower()),
        Reused::new(
            "trim",
            "TRIM([BOTH | LEADING | TRAILING] [chars FROM] string)",
            "Without the characters `chars` (space) at its ends.",
            df::btrim(),
        ),
        Reused::new(
            "btrim",
            "BTRIM(string [, chars])",
            "Without the characters `chars` (space) at both ends.",
            df::btrim(),
        ),
        Reused::new(
            "ltrim",
            "LTRIM(string [, chars])",
            "Without the characters `chars` (space) at its start.",
            df::ltrim(),
        ),
        Reused::new(
            "rtrim",
            "RTRIM(string [, chars])",
            "Without the characters `chars` (space) at its end.",
            df::rtrim(),
        ),
        Reused::new("reverse", "REVERSE(string)", "Backwards.", unicode::reverse()),
        Reused::new(
            "startswith",
            "STARTSWITH(string, prefix)",
            "Whether it starts with `prefix`.",
            df::starts_with(),
        ),
        Reused::new(
            "endswith",
            "ENDSWITH(string, suffix)",
            "Whether it ends with `suffix`.",
            df::ends_with(),
        ),
        Reused::new("uuid", "UUID()", "A new random UUID for each row.", df::uuid()),
    ]
}

/// Our own string functions.
pub fn functions() -> Vec<Builtin> {
    [texts(), positions(), regular_expressions(), lists(), encodings()].concat()
}

fn texts() -> Vec<Builtin> {
    vec![
        Builtin::new(
            "substring",
            "SUBSTRING(string, start [, length]), SUBSTRING(string FROM start [FOR length])",
            "The part from character `start` (from 1; negative: from the end). NULL if `length` is negative.",
            substring::substring,
        )
        .also(&["substr"])
        .takes_at_least(2, &[Text, Integer, Integer]),
        Builtin::new("left", "LEFT(string, n)", "The first `n` characters.", substring::left)
            .takes(&[Text, Integer]),
        Builtin::new("right", "RIGHT(string, n)", "The last `n` characters.", substring::right)
            .takes(&[Text, Integer]),
        Builtin::new(
            "overlay",
            "OVERLAY(string PLACING replacement FROM start [FOR length])",
            "With the `length` characters from `start` replaced.",
            substring::overlay,
        )
        .takes_at_least(3, &[Text, Text, Integer, Integer]),
        Builtin::new("repeat", "REPEAT(string, n)", "The string `n` times.", pad::repeat)
            .takes(&[Text, Integer]),
        Builtin::new(
            "lpad",
            "LPAD(string, length, pad)",
            "Filled from the left, or cut, to `length` characters.",
            pad::lpad,
        )
        .takes(&[Text, Integer, Text]),
        Builtin::new(
            "rpad",
            "RPAD(string, length, pad)",
            "Filled to the right, or cut, to `length` characters.",
            pad::rpad,
        )
        .takes(&[Text, Integer, Text]),
        Builtin::new(
            "translate",
            "TRANSLATE(string, from, to)",
            "Each character of `from` becomes the one at its place in `to`, or goes.",
            edit::translate,
        )
        .also(&["translate3"])
        .takes(&[Text, Text, Text]),
        Builtin::new(
            "initcap",
            "INITCAP(string)",
            "Each word (ASCII letters and digits) with a capital and then small letters.",
            edit::initcap,
        )
        .takes(&[Text]),
        Builtin::new(
            "replace",
            "REPLACE(string, search, replacement)",
            "With every `search` replaced.",
            edit::replace,
        )
        .takes(&[Text, Text, Text]),
        Builtin::new("concat", "CONCAT(string, ...)", "All joined; NULL if one is.", edit::concat)
            .takes_many(&[Text]),
        Builtin::new(
            "concat_ws",
            "CONCAT_WS(separator, string, ...)",
            "All that are not NULL, joined by `separator`.",
            edit::concat_ws,
        )
        .takes_many(&[Text, Text]),
        Builtin::new(
            "printf",
            "PRINTF(format, value, ...)",
            "The values, written as `format` says (Java's `Formatter`).",
            printf::printf,
        )
        .takes_many(&[Text, Any]),
    ]
}

fn positions() -> Vec<Builtin> {
    vec![
        Builtin::new("position", "POSITION(search IN string)", "Place of the first `search`, from 1; 0 if there is none.", position::locate)
            .takes(&[Text, Text])
            .returns(DataType::Int32),
        Builtin::new("locate", "LOCATE(search, string [, start])", "Place of the first `search` from character `start` on; 0 if there is none.", position::locate)
            .takes_at_least(2, &[Text, Text, Integer])
            .returns(DataType::Int32),
        Builtin::new(
            "instr",
            "INSTR(string, search [, start [, nth]])",
            "Place of the `nth` occurrence from `start` on (negative: backwards from the end); 0 if there is none.",
            position::instr,
        )
        .takes_at_least(2, &[Text, Text, Integer, Integer])
        .returns(DataType::Int32),
        Builtin::new("is_alpha", "IS_ALPHA(string)", "Whether it has characters and all are letters.", test::is_alpha)
            .takes(&[Any])
            .returns(DataType::Boolean),
        Builtin::new("is_digit", "IS_DIGIT(string)", "Whether it has characters and all are digits.", test::is_digit)
            .takes(&[Any])
            .returns(DataType::Boolean),
        Builtin::new("is_decimal", "IS_DECIMAL(string)", "Whether it is written as a number.", test::is_decimal)
            .takes(&[Any])
            .returns(DataType::Boolean),
    ]
}

fn regular_expressions() -> Vec<Builtin> {
    vec![
        Builtin::new(
            "regexp_replace",
            "REGEXP_REPLACE(string, regex, replacement)",
            "With every match replaced by the literal `replacement`.",
            regexp::replace,
        )
        .takes(&[Text, Text, Text]),
        Builtin::new(
            "regexp_extract",
            "REGEXP_EXTRACT(string, regex [, group])",
            "Group `group` (0: all) of the first match; NULL without one.",
            regexp::extract,
        )
        .takes_at_least(2, &[Text, Text, Integer]),
        Builtin::new(
            "regexp_extract_all",
            "REGEXP_EXTRACT_ALL(string, regex [, group])",
            "Group `group` (1) of every match.",
            regexp::extract_all,
        )
        .takes_at_least(2, &[Text, Text, Integer])
        .returns(split::text_list()),
        Builtin::new(
            "regexp",
            "REGEXP(string, regex)",
            "Whether a part of the string matches.",
            regexp::matches,
        )
        .takes(&[Text, Text])
        .returns(DataType::Boolean),
        Builtin::new("regexp_count", "REGEXP_COUNT(string, regex)", "Number of matches.", regexp::count)
            .takes(&[Text, Text])
            .returns(DataType::Int32),
        Builtin::new(
            "regexp_instr",
            "REGEXP_INSTR(string, regex)",
            "Place of the first match, from 1; 0 without one.",
            regexp::instr,
        )
        .takes(&[Text, Text])
        .returns(DataType::Int32),
        Builtin::new(
            "regexp_substr",
            "REGEXP_SUBSTR(string, regex)",
            "The first match; NULL without one.",
            regexp::substr,
        )
        .takes(&[Text, Text]),
        Builtin::internal("similar_to", regexp::similar_to).takes(&[Text, Text]).returns(DataType::Boolean),
    ]
}

fn lists() -> Vec<Builtin> {
    vec![
        Builtin::new(
            "split_index",
            "SPLIT_INDEX(string, delimiter, index)",
            "Part `index`, from 0; NULL outside. A number as delimiter is a character's code.",
            split::split_index,
        )
        .takes(&[Text, Any, Integer]),
        Builtin::new(
            "split",
            "SPLIT(string, delimiter)",
            "The parts; single characters if the delimiter is empty.",
            split::split,
        )
        .takes(&[Text, Text])
        .returns(split::text_list()),
        Builtin::new(
            "str_to_map",
            "STR_TO_MAP(string [, pairs, key_value])",
            "A map of its pairs; the delimiters (`,` and `=`) are regular expressions.",
            split::str_to_map,
        )
        .takes_at_least(1, &[Text, Text, Text])
        .returns(split::text_map()),
        Builtin::new(
            "elt",
            "ELT(index, value, ...)",
            "The value at `index`, from 1; NULL outside.",
            split::elt,
        )
        .takes_many(&[Integer, Text]),
        Builtin::new(
            "parse_url",
            "PARSE_URL(url, part [, key])",
            "HOST, PATH, QUERY, REF, PROTOCOL, AUTHORITY, FILE or USERINFO, or the value of a QUERY key.",
            url::parse_url,
        )
        .takes_at_least(2, &[Text, Text, Text]),
        Builtin::new(
            "url_encode",
            "URL_ENCODE(string)",
            "As `application/x-www-form-urlencoded`, in UTF-8.",
            url::encode,
        )
        .takes(&[Text]),
        Builtin::new(
            "url_decode",
            "URL_DECODE(string)",
            "From `application/x-www-form-urlencoded`; NULL if malformed.",
            url::decode,
        )
        .takes(&[Text]),
    ]
}

fn encodings() -> Vec<Builtin> {
    vec![
        Builtin::new(
            "inet_aton",
            "INET_ATON(address)",
            "An IPv4 address as a number; NULL if it is none.",
            inet::to_number,
        )
        .takes(&[Text])
        .returns(DataType::Int64),
        Builtin::new(
            "inet_ntoa",
            "INET_NTOA(number)",
            "A number as an IPv4 address; NULL outside 32 bits.",
            inet::to_address,
        )
        .takes(&[Integer]),
        Builtin::new("to_base64", "TO_BASE64(string)", "In Base64.", bytes::to_base64).takes(&[TextOrBytes]),
        Builtin::new("from_base64", "FROM_BASE64(string)", "Decoded from Base64.", bytes::from_base64)
            .takes(&[Text]),
        Builtin::new(
            "ascii",
            "ASCII(string)",
            "The first byte, as a signed number; 0 if empty.",
            bytes::ascii,
        )
        .takes(&[Text])
        .returns(DataType::Int32),
        Builtin::new(
            "chr",
            "CHR(integer)",
            "The character with this code, modulo 256; empty if negative.",
            bytes::chr,
        )
        .takes(&[Integer]),
        Builtin::new(
            "encode",
            "ENCODE(string, charset)",
            "Bytes in US-ASCII, ISO-8859-1, UTF-8, UTF-16BE, UTF-16LE or UTF-16.",
            bytes::encode,
        )
        .takes(&[Text, Text])
        .returns(DataType::Binary),
        Builtin::new(
            "decode",
            "DECODE(binary, charset)",
            "Text from bytes in such a character set.",
            bytes::decode,
        )
        .takes(&[Bytes, Text]),
        Builtin::new("bin", "BIN(integer)", "In binary.", bytes::bin).takes(&[Integer]),
        Builtin::new("hex", "HEX(integer | string)", "In hexadecimal, upper case.", bytes::hex)
            .takes_checked(bytes::hex_argument),
        Builtin::new("unhex", "UNHEX(string)", "Bytes from hexadecimal; NULL if malformed.", bytes::unhex)
            .takes(&[Text])
            .returns(DataType::Binary),
    ]
}
