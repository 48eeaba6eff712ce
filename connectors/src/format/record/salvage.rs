//! Finds the malformed among many records: halves the records until each failure stands alone, so that a few bad ones cost a few
//! calls more and the good ones stay in large batches.

use arrow::compute::concat_batches;

use super::{DecodeRecords, Decoded, RowChanges};
use crate::error::{Error, Result};

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Which of the records.
    pub record: usize,
    /// What was expected and found.
    pub reason: String,
}

/// The rows of those records that can be read.
#[derive(Debug)]
pub struct Salvaged {
    /// The rows; none where no record could be read.
    pub decoded: Option<Decoded>,
    /// The record that each row comes from; `None` where row n is record n.
    pub origins: Option<Vec<u32>>,
    /// The records that cannot be read, ascending.
    pub malformed: Vec<Malformed>,
}

/// Decodes what can be decoded of some records.
pub fn salvage(decoder: &mut dyn DecodeRecords, records: &[&[u8]]) -> Result<Salvaged> {
    let mut parts = Vec::new();
    let mut malformed = Vec::new();
    let mut ranges = vec![0..records.len()];
    while let Some(range) = ranges.pop() {
        match decoder.decode(&records[range.clone()]) {
            Ok(decoded) => parts.push((range, decoded)),
            Err(reason) if range.len() <= 1 => malformed.push(Malformed { record: range.start, reason }),
            Err(_) => {
                let middle = range.start + range.len() / 2;
                ranges.push(middle..range.end);
                ranges.push(range.start..middle);
            }
        }
    }
    joined(parts, malformed)
}

fn joined(parts: Vec<(std::ops::Range<usize>, Decoded)>, malformed: Vec<Malformed>) -> Result<Salvaged> {
    let mut origins = Vec::new();
    let mut weights = Vec::new();
    let mut batches = Vec::with_capacity(parts.len());
    let mut is_changelog = false;
    for (range, decoded) in parts {
        match decoded.changes {
            Some(changes) => {
                is_changelog = true;
                origins.extend(changes.origins.iter().map(|origin| range.start as u32 + origin));
                weights.extend(changes.weights);
            }
            None => origins.extend(range.start as u32..range.end as u32),
        }
        batches.push(decoded.rows);
    }
    let Some(first) = batches.first() else {
        return Ok(Salvaged { decoded: None, origins: None, malformed });
    };
    let rows = concat_batches(&first.schema(), &batches).map_err(|error| Error::Rows(error.into()))?;
    let is_identity = malformed.is_empty() && !is_changelog;
    let changes = is_changelog.then(|| RowChanges { origins: origins.clone(), weights });
    let origins = (!is_identity).then_some(origins);
    Ok(Salvaged { decoded: Some(Decoded { rows, changes }), origins, malformed })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use arrow::datatypes::{DataType, Field, Schema};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        format::record::{RecordFormat, decoder},
        options::TableOptions,
    };

    proptest! {
        #[test]
        fn good_records_survive_bad_ones_in_order(good in prop::collection::vec(any::<bool>(), 0..40)) {
            let schema = Arc::new(Schema::new(vec![Field::new("i", DataType::Int64, true)]));
            let options = BTreeMap::new();
            let mut json = decoder(RecordFormat::Json, TableOptions(&options), &schema, &[0]).unwrap();
            let texts: Vec<String> =
                good.iter().enumerate().map(|(i, good)| if *good { format!("{{\"i\":{i}}}") } else { "{".into() }).collect();
            let records: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
            let salvaged = salvage(json.as_mut(), &records).unwrap();
            let bad: Vec<usize> = salvaged.malformed.iter().map(|malformed| malformed.record).collect();
            let expected_bad: Vec<usize> = (0..good.len()).filter(|i| !good[*i]).collect();
            prop_assert_eq!(bad, expected_bad);
            let expected: Vec<i64> = (0..good.len()).filter(|i| good[*i]).map(|i| i as i64).collect();
            let rows: Vec<i64> = salvaged.decoded.map_or(Vec::new(), |decoded| {
                arrow::array::cast::as_primitive_array::<arrow::datatypes::Int64Type>(decoded.rows.column(0)).values().to_vec()
            });
            prop_assert_eq!(rows, expected);
        }
    }
}
