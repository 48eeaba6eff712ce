//! Digests, in lower-case hexadecimal.

use std::fmt::Write;

use arrow::array::ArrayRef;
use datafusion::common::{Result, exec_err};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};

use super::{
    argument::{
        Call,
        Kind::{Integer, TextOrBytes},
        texts,
    },
    builtin::Builtin,
};

/// The hash functions.
pub fn functions() -> Vec<Builtin> {
    let hash = |name, usage, doc, kernel| Builtin::new(name, usage, doc, kernel).takes(&[TextOrBytes]);
    vec![
        hash("md5", "MD5(string)", "MD5, 32 hexadecimal digits.", digest::<Md5>),
        hash("sha1", "SHA1(string)", "SHA-1, 40 hexadecimal digits.", digest::<Sha1>),
        hash("sha224", "SHA224(string)", "SHA-224, 56 hexadecimal digits.", digest::<Sha224>),
        hash("sha256", "SHA256(string)", "SHA-256, 64 hexadecimal digits.", digest::<Sha256>),
        hash("sha384", "SHA384(string)", "SHA-384, 96 hexadecimal digits.", digest::<Sha384>),
        hash("sha512", "SHA512(string)", "SHA-512, 128 hexadecimal digits.", digest::<Sha512>),
        Builtin::new("sha2", "SHA2(string, bits)", "SHA-2 of 224, 256, 384 or 512 bits.", sha2)
            .takes(&[TextOrBytes, Integer]),
    ]
}

fn digest<D: Digest>(call: &Call) -> Result<ArrayRef> {
    let bytes = call.bytes(0)?;
    texts(call.rows, |row, out| Ok(bytes.get(row).map(|bytes| write_hex(&D::digest(bytes), out))))
}

fn sha2(call: &Call) -> Result<ArrayRef> {
    let (bytes, bits) = (call.bytes(0)?, call.integers(1)?);
    texts(call.rows, |row, out| {
        let (Some(bytes), Some(bits)) = (bytes.get(row), bits.get(row)) else { return Ok(None) };
        match bits {
            224 => write_hex(&Sha224::digest(bytes), out),
            256 => write_hex(&Sha256::digest(bytes), out),
            384 => write_hex(&Sha384::digest(bytes), out),
            512 => write_hex(&Sha512::digest(bytes), out),
            _ => return exec_err!("SHA2 has no length of {bits} bits, only 224, 256, 384 and 512"),
        }
        Ok(Some(()))
    })
}

fn write_hex(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}
