//! URLs and form encoding.

use arrow::array::ArrayRef;
use datafusion::common::Result;

use crate::functions::argument::{Call, slices, texts};

/// `PARSE_URL(url, part [, key])`: NULL if the part is missing or the text is no URL.
pub fn parse_url(call: &Call) -> Result<ArrayRef> {
    let (url, part) = (call.text(0)?, call.text(1)?);
    let key = call.has(2).then(|| call.text(2)).transpose()?;
    slices(call.rows, |row| {
        let (Some(url), Some(part)) = (url.get(row), part.get(row)) else { return Ok(None) };
        let Some(url) = Url::parse(url) else { return Ok(None) };
        let Some(key) = &key else { return Ok(url.part(part)) };
        let query = if part == "QUERY" { url.query } else { None };
        Ok(query.zip(key.get(row)).and_then(|(query, key)| value_of(query, key)))
    })
}

/// `URL_ENCODE(string)`
pub fn encode(call: &Call) -> Result<ArrayRef> {
    let text = call.text(0)?;
    texts(call.rows, |row, out| {
        let Some(text) = text.get(row) else { return Ok(None) };
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => out.push(byte.into()),
                b' ' => out.push('+'),
                _ => out.extend(['%', hex_digit(byte >> 4), hex_digit(byte & 15)]),
            }
        }
        Ok(Some(()))
    })
}

/// `URL_DECODE(string)`
pub fn decode(call: &Call) -> Result<ArrayRef> {
    let text = call.text(0)?;
    texts(call.rows, |row, out| Ok(text.get(row).and_then(|text| decode_into(text, out))))
}

fn decode_into(text: &str, out: &mut String) -> Option<()> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex_value(rest.next()?)? << 4 | hex_value(rest.next()?)?,
            _ => byte,
        });
    }
    out.push_str(&String::from_utf8_lossy(&bytes));
    Some(())
}

fn hex_digit(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap_or('0').to_ascii_uppercase()
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

fn value_of<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

/// The parts of a URL as `java.net.URL` names them.
struct Url<'a> {
    protocol: &'a str,
    authority: &'a str,
    path: &'a str,
    file: &'a str,
    query: Option<&'a str>,
    reference: Option<&'a str>,
}

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (protocol, rest) = text.trim().split_once(':')?;
        let mut letters = protocol.chars();
        let named = letters.next()?.is_ascii_alphabetic()
            && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        if !named {
            return None;
        }
        let (rest, reference) =
            rest.split_once('#').map_or((rest, None), |(rest, reference)| (rest, Some(reference)));
        let (authority, file) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
            None => ("", rest),
        };
        let (path, query) = file.split_once('?').map_or((file, None), |(path, query)| (path, Some(query)));
        Some(Url { protocol, authority, path, file, query, reference })
    }

    fn part(&self, name: &str) -> Option<&'a str> {
        match name {
            "HOST" => Some(self.host()),
            "PATH" => Some(self.path),
            "QUERY" => self.query,
            "REF" => self.reference,
            "PROTOCOL" => Some(self.protocol),
            "AUTHORITY" => Some(self.authority),
            "FILE" => Some(self.file),
            "USERINFO" => self.authority.rsplit_once('@').map(|(user, _)| user),
            _ => None,
        }
    }

    fn host(&self) -> &'a str {
        let host = self.authority.rsplit_once('@').map_or(self.authority, |(_, host)| host);
        match host.starts_with('[') {
            true => host.split_inclusive(']').next().unwrap_or(host),
            false => host.split(':').next().unwrap_or(host),
        }
    }
}
