//! One JSON object a line. Timestamps as SQL writes them, NULL as `null`, decimals as numbers.

use std::io::{self, Write};

use arrow::{
    array::RecordBatch,
    json::{WriterBuilder, writer::LineDelimited},
};

/// Prints some rows.
pub fn write(batch: &RecordBatch, out: &mut impl Write) -> io::Result<()> {
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_timestamp_format("%Y-%m-%d %H:%M:%S%.f".to_owned())
        .with_timestamp_tz_format("%Y-%m-%d %H:%M:%S%.fZ".to_owned())
        .build::<_, LineDelimited>(out);
    writer.write(batch).and_then(|()| writer.finish()).map_err(io_error)
}

fn io_error(error: arrow::error::ArrowError) -> io::Error {
    match error {
        arrow::error::ArrowError::IoError(_, source) => source,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Decimal128Array, StringArray, TimestampMillisecondArray};

    use super::*;

    #[test]
    fn one_object_a_line() {
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a\"b"), None]));
        let prices: ArrayRef =
            Arc::new(Decimal128Array::from(vec![150, 7]).with_precision_and_scale(10, 2).unwrap());
        let times: ArrayRef =
            Arc::new(TimestampMillisecondArray::from(vec![1_706_702_400_000, 1_706_702_400_120]));
        let batch = RecordBatch::try_from_iter([("n", names), ("p", prices), ("t", times)]).unwrap();
        let mut out = Vec::new();
        write(&batch, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"n\":\"a\\\"b\",\"p\":1.50,\"t\":\"2024-01-31 12:00:00\"}\n\
             {\"n\":null,\"p\":0.07,\"t\":\"2024-01-31 12:00:00.120\"}\n"
        );
    }
}
