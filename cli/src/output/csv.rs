//! Comma-separated rows with a header, quoted as in RFC 4180. NULL is an empty field, empty text is `""`.

use std::io::{self, Write};

use arrow::{array::RecordBatch, datatypes::SchemaRef};

use super::{Style, cell::Column};

/// Prints one result.
pub struct Csv {
    schema: SchemaRef,
    style: Style,
    header_printed: bool,
}

impl Csv {
    pub fn new(schema: SchemaRef, style: Style) -> Self {
        Self { schema, style, header_printed: false }
    }

    pub fn write(&mut self, batch: &RecordBatch, out: &mut impl Write) -> io::Result<()> {
        let mut text = String::new();
        self.append_header(&mut text);
        let columns = batch.columns().iter().map(|column| Column::new(column.as_ref(), self.style.time_zone));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
        let mut value = String::new();
        for row in 0..batch.num_rows() {
            for (position, (column, array)) in columns.iter().zip(batch.columns()).enumerate() {
                text.push_str(if position > 0 { "," } else { "" });
                if array.is_valid(row) {
                    value.clear();
                    column.append(row, "", &mut value);
                    append_field(&value, &mut text);
                }
            }
            text.push('\n');
        }
        out.write_all(text.as_bytes())
    }

    /// A result without rows has a header too.
    pub fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        let mut text = String::new();
        self.append_header(&mut text);
        out.write_all(text.as_bytes())
    }

    fn append_header(&mut self, text: &mut String) {
        if std::mem::replace(&mut self.header_printed, true) {
            return;
        }
        for (position, field) in self.schema.fields().iter().enumerate() {
            text.push_str(if position > 0 { "," } else { "" });
            append_field(field.name(), text);
        }
        text.push('\n');
    }
}

fn append_field(value: &str, text: &mut String) {
    if !value.is_empty() && !value.contains([',', '"', '\n', '\r']) {
        return text.push_str(value);
    }
    text.push('"');
    text.push_str(&value.replace('"', "\"\""));
    text.push('"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, StringArray};

    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let names: ArrayRef =
            Arc::new(StringArray::from(vec![Some("a,b"), Some("say \"x\""), Some(""), None]));
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3), Some(4)]));
        let batch = RecordBatch::try_from_iter([("name", names), ("a \"b\"", numbers)]).unwrap();
        let mut csv = Csv::new(batch.schema(), Style::default());
        let mut out = Vec::new();
        csv.write(&batch.slice(0, 2), &mut out).unwrap();
        csv.write(&batch.slice(2, 2), &mut out).unwrap();
        csv.finish(&mut out).unwrap();
        let expected = "name,\"a \"\"b\"\"\"\n\"a,b\",1\n\"say \"\"x\"\"\",\n\"\",3\n,4\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
