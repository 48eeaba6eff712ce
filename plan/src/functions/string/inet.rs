//! IPv4 addresses as numbers, and back.

use arrow::{array::ArrayRef, datatypes::Int64Type};
use datafusion::common::Result;

use crate::functions::argument::{Call, numbers, texts};

/// `INET_ATON(address)`: NULL if it is none. With fewer than four parts the last one is the last byte: `127.1` is `127.0.0.1`.
pub fn to_number(call: &Call) -> Result<ArrayRef> {
    let addresses = call.text(0)?;
    numbers::<Int64Type>(call.rows, |row| Ok(addresses.get(row).and_then(number)))
}

fn number(address: &str) -> Option<i64> {
    let parts: Vec<u8> = address.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    let mut bytes = [0; 4];
    bytes.get_mut(..first.len()).filter(|_| first.len() < 4)?.copy_from_slice(first);
    bytes[3] = *last;
    Some(i64::from(u32::from_be_bytes(bytes)))
}

/// `INET_NTOA(number)`: NULL outside 32 bits.
pub fn to_address(call: &Call) -> Result<ArrayRef> {
    let numbers = call.integers(0)?;
    texts(call.rows, |row, out| {
        let Some(number) = numbers.get(row).and_then(|number| u32::try_from(number).ok()) else {
            return Ok(None);
        };
        out.push_str(&std::net::Ipv4Addr::from(number).to_string());
        Ok(Some(()))
    })
}
