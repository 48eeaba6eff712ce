//! Text and numbers as bytes, and bytes as text.

use std::fmt::Write;

use arrow::{
    array::ArrayRef,
    datatypes::{DataType, Int32Type},
};
use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use datafusion::common::{Result, exec_datafusion_err, exec_err, plan_err};

use crate::functions::argument::{Call, Kind, binaries, numbers, texts};

/// Like Java's basic decoder: padding may be missing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `TO_BASE64(string)`
pub fn to_base64(call: &Call) -> Result<ArrayRef> {
    let bytes = call.bytes(0)?;
    texts(call.rows, |row, out| Ok(bytes.get(row).map(|bytes| STANDARD.encode_string(bytes, out))))
}

/// `FROM_BASE64(string)`
pub fn from_base64(call: &Call) -> Result<ArrayRef> {
    let text = call.text(0)?;
    texts(call.rows, |row, out| {
        let Some(text) = text.get(row) else { return Ok(None) };
        let bytes = LENIENT.decode(text);
        let bytes =
            bytes.map_err(|error| exec_datafusion_err!("FROM_BASE64 cannot decode '{text}': {error}"))?;
        out.push_str(&String::from_utf8_lossy(&bytes));
        Ok(Some(()))
    })
}

/// `ASCII(string)`
pub fn ascii(call: &Call) -> Result<ArrayRef> {
    let text = call.text(0)?;
    numbers::<Int32Type>(call.rows, |row| {
        Ok(text.get(row).map(|text| text.bytes().next().map_or(0, |byte| i32::from(byte as i8))))
    })
}

/// `CHR(integer)`
pub fn chr(call: &Call) -> Result<ArrayRef> {
    let codes = call.integers(0)?;
    texts(call.rows, |row, out| {
        Ok(codes.get(row).map(|code| {
            if code >= 0 {
                out.push(char::from((code & 0xFF) as u8));
            }
        }))
    })
}

/// `ENCODE(string, charset)`
pub fn encode(call: &Call) -> Result<ArrayRef> {
    let (text, charset) = (call.text(0)?, call.text(1)?);
    binaries(call.rows, |row, out| {
        let (Some(text), Some(charset)) = (text.get(row), charset.get(row)) else { return Ok(None) };
        match Charset::named(charset)? {
            Charset::Ascii => out.extend(text.chars().map(|c| if c.is_ascii() { c as u8 } else { b'?' })),
            Charset::Latin1 => out.extend(text.chars().map(|c| u8::try_from(c).unwrap_or(b'?'))),
            Charset::Utf8 => out.extend(text.bytes()),
            Charset::Utf16Le => out.extend(text.encode_utf16().flat_map(u16::to_le_bytes)),
            Charset::Utf16Be => out.extend(text.encode_utf16().flat_map(u16::to_be_bytes)),
            Charset::Utf16 => {
                out.extend([0xFE, 0xFF]);
                out.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
            }
        }
        Ok(Some(()))
    })
}

/// `DECODE(binary, charset)`: what is malformed becomes U+FFFD.
pub fn decode(call: &Call) -> Result<ArrayRef> {
    let (bytes, charset) = (call.bytes(0)?, call.text(1)?);
    texts(call.rows, |row, out| {
        let (Some(bytes), Some(charset)) = (bytes.get(row), charset.get(row)) else { return Ok(None) };
        match Charset::named(charset)? {
            Charset::Ascii => {
                out.extend(bytes.iter().map(|b| if b.is_ascii() { char::from(*b) } else { '\u{FFFD}' }))
            }
            Charset::Latin1 => out.extend(bytes.iter().map(|b| char::from(*b))),
            Charset::Utf8 => out.push_str(&String::from_utf8_lossy(bytes)),
            Charset::Utf16Le => utf16(bytes, u16::from_le_bytes, out),
            Charset::Utf16Be => utf16(bytes, u16::from_be_bytes, out),
            Charset::Utf16 => match bytes {
                [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes, out),
                [0xFE, 0xFF, rest @ ..] | rest => utf16(rest, u16::from_be_bytes, out),
            },
        }
        Ok(Some(()))
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, out: &mut String) {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|pair| unit(*pair));
    out.extend(char::decode_utf16(units).map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER)));
    if !rest.is_empty() {
        out.push(char::REPLACEMENT_CHARACTER);
    }
}

/// The character sets that every Java has.
enum Charset {
    Ascii,
    Latin1,
    Utf8,
    Utf16,
    Utf16Le,
    Utf16Be,
}

impl Charset {
    fn named(name: &str) -> Result<Self> {
        Ok(match name.to_ascii_uppercase().as_str() {
            "US-ASCII" | "ASCII" => Charset::Ascii,
            "ISO-8859-1" | "LATIN1" => Charset::Latin1,
            "UTF-8" | "UTF8" => Charset::Utf8,
            "UTF-16" => Charset::Utf16,
            "UTF-16LE" => Charset::Utf16Le,
            "UTF-16BE" => Charset::Utf16Be,
            _ => {
                return exec_err!(
                    "unknown character set `{name}`; known are US-ASCII, ISO-8859-1, UTF-8, UTF-16, UTF-16LE, UTF-16BE"
                );
            }
        })
    }
}

/// `BIN(integer)`
pub fn bin(call: &Call) -> Result<ArrayRef> {
    let values = call.integers(0)?;
    texts(call.rows, |row, out| Ok(values.get(row).and_then(|value| write!(out, "{value:b}").ok())))
}

/// What [`hex`] takes.
pub fn hex_argument(given: &[DataType]) -> Result<Vec<DataType>> {
    let [given] = given else { return plan_err!("one argument") };
    let kinds = [Kind::TextOrBytes, Kind::Integer];
    match kinds.iter().find_map(|kind| kind.coerce(given)) {
        Some(coerced) => Ok(vec![coerced]),
        None => plan_err!("a number or text"),
    }
}

/// `HEX(integer | string)`
pub fn hex(call: &Call) -> Result<ArrayRef> {
    if call.arguments[0].data_type().is_integer() {
        let values = call.integers(0)?;
        return texts(call.rows, |row, out| {
            Ok(values.get(row).and_then(|value| write!(out, "{value:X}").ok()))
        });
    }
    let bytes = call.bytes(0)?;
    texts(call.rows, |row, out| {
        Ok(bytes.get(row).and_then(|bytes| bytes.iter().try_for_each(|byte| write!(out, "{byte:02X}").ok())))
    })
}

/// `UNHEX(string)`: an odd first digit is a byte of its own.
pub fn unhex(call: &Call) -> Result<ArrayRef> {
    let text = call.text(0)?;
    binaries(call.rows, |row, out| {
        let Some(text) = text.get(row) else { return Ok(None) };
        let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
        let Some(digits) = digits else { return Ok(None) };
        let (first, pairs) = digits.split_at(digits.len() % 2);
        out.extend(first);
        out.extend(pairs.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
        Ok(Some(()))
    })
}
