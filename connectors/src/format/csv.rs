//! CSV by RFC 4180, with Flink's options.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray},
    compute::{CastOptions, cast_with_options},
    csv::ReaderBuilder,
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use super::{records::Quoting, text::DecodeRecords};
use crate::{
    error::{Error, Result},
    options::TableOptions,
};

/// The options that reading and writing share.
#[derive(Debug, Clone)]
pub struct CsvOptions {
    /// Between fields.
    pub delimiter: u8,
    /// Around fields; `None` where quotes mean nothing.
    pub quote: Option<u8>,
    /// Before a byte that is to be taken literally.
    pub escape: Option<u8>,
    /// Whether lines that begin with `#` are left out.
    pub allow_comments: bool,
    /// Whether malformed rows are left out.
    pub ignore_parse_errors: bool,
    /// How NULL is written.
    pub null_literal: Option<String>,
    /// Whether the first line names the columns.
    pub header: bool,
}

impl CsvOptions {
    /// Of a table.
    pub fn of(options: TableOptions<'_>) -> Self {
        let quote = options.character("csv.quote-character").unwrap_or(b'"');
        Self {
            delimiter: options.character("csv.field-delimiter").unwrap_or(b','),
            quote: (!options.is_set("csv.disable-quote-character")).then_some(quote),
            escape: options.character("csv.escape-character"),
            allow_comments: options.is_set("csv.allow-comments"),
            ignore_parse_errors: options.is_set("csv.ignore-parse-errors"),
            null_literal: options.text("csv.null-literal").map(str::to_owned),
            header: options.is_set("csv.header"),
        }
    }
}

/// Whether a quoted field may hold a newline, so that a file cannot be entered in the middle.
pub fn rows_may_span_lines(options: TableOptions<'_>) -> bool {
    !options.is_set("csv.disable-quote-character") && options.value("csv.multi-line").unwrap_or(true)
}

/// Checks that columns can stand in a CSV file.
pub fn check_columns(schema: &Schema) -> Result<()> {
    match schema.fields().iter().find(|field| field.data_type().is_nested()) {
        None => Ok(()),
        Some(field) => Err(Error::Unsupported(format!(
            "column `{}` of type {} cannot stand in a CSV file; use the format `json` or `parquet`",
            field.name(),
            super::schema::type_text(field.data_type())
        ))),
    }
}

/// Decodes the wanted columns of records.
#[derive(Debug)]
pub struct CsvDecoder {
    options: CsvOptions,
    /// All columns of the files, as text: what they hold is decided column by column.
    text_schema: SchemaRef,
    /// The positions of the wanted columns, ascending.
    wanted: Vec<usize>,
    schema: SchemaRef,
}

impl CsvDecoder {
    /// For files with the columns of `file`, of which those at `wanted` (ascending) are decoded.
    pub fn new(options: CsvOptions, file: &Schema, wanted: Vec<usize>) -> Result<Self> {
        let text = |field: &Arc<Field>| Field::new(field.name(), DataType::Utf8, true);
        let text_schema = Arc::new(Schema::new(file.fields().iter().map(text).collect::<Vec<_>>()));
        let schema = Arc::new(file.project(&wanted).map_err(|error| Error::Rows(error.into()))?);
        Ok(Self { options, text_schema, wanted, schema })
    }

    fn column(&self, column: &ArrayRef, field: &Field) -> std::result::Result<ArrayRef, String> {
        let text = column.as_string::<i32>();
        let null = self.options.null_literal.as_deref();
        let values: StringArray = if is_text(field.data_type()) {
            // The reader gives NULL for an empty field, which is an empty string unless that is how NULL is written.
            text.iter().map(|value| Some(value.unwrap_or("")).filter(|value| Some(*value) != null)).collect()
        } else {
            let value = |value: Option<&'_ str>| {
                value
                    .map(str::trim)
                    .filter(|value| !value.is_empty() && Some(*value) != null)
                    .map(str::to_owned)
            };
            text.iter().map(value).collect()
        };
        let strict = CastOptions { safe: false, ..Default::default() };
        cast_with_options(&values, field.data_type(), &strict).map_err(|error| {
            format!("column `{}`: {}", field.name(), not_of(&error.to_string(), field.data_type()))
        })
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// What a failed cast says: the value that it quotes, and the type that is wanted in SQL's words.
fn not_of(message: &str, wanted: &DataType) -> String {
    let wanted = super::schema::type_text(wanted);
    match (message.find('\''), message.rfind('\'')) {
        (Some(start), Some(end)) if start < end => {
            format!("{} is not a value of {wanted}", &message[start..=end])
        }
        _ => format!("{} (wanted: {wanted})", plain(message)),
    }
}

/// A message of Arrow without the name of its error.
fn plain(message: &str) -> &str {
    message.split_once(" error: ").map_or(message, |(_, reason)| reason)
}

impl DecodeRecords for CsvDecoder {
    fn format(&self) -> &'static str {
        "csv"
    }

    fn quoting(&self) -> Quoting {
        Quoting {
            quote: self.options.quote,
            escape: self.options.escape,
            delimiter: self.options.delimiter,
            comment: self.options.allow_comments.then_some(b'#'),
        }
    }

    fn header_records(&self) -> usize {
        usize::from(self.options.header)
    }

    fn skips_malformed(&self) -> bool {
        self.options.ignore_parse_errors
    }

    fn decode(&mut self, block: &[u8]) -> std::result::Result<RecordBatch, String> {
        let lines = block.iter().filter(|byte| **byte == b'\n').count() + 1;
        // NUL cannot begin a field that is text: where quotes mean nothing it stands for them.
        let mut builder = ReaderBuilder::new(Arc::clone(&self.text_schema))
            .with_delimiter(self.options.delimiter)
            .with_quote(self.options.quote.unwrap_or(0))
            .with_projection(self.wanted.clone())
            .with_batch_size(lines);
        if let Some(escape) = self.options.escape {
            builder = builder.with_escape(escape);
        }
        if self.options.allow_comments {
            builder = builder.with_comment(b'#');
        }
        let mut decoder = builder.build_decoder();
        let reason = |error: arrow::error::ArrowError| without_line(plain(&error.to_string()));
        let mut read = 0;
        while read < block.len() {
            match decoder.decode(&block[read..]).map_err(reason)? {
                0 => break,
                bytes => read += bytes,
            }
        }
        decoder.decode(&[]).map_err(reason)?;
        let Some(text) = decoder.flush().map_err(reason)? else {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        };
        let columns = text.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| self.column(column, field));
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(text.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| plain(&error.to_string()).to_owned())
    }
}

/// "incorrect number of fields for line 1, expected 2 got 3": the line is that of the block.
fn without_line(message: &str) -> String {
    match (message.find(" for line "), message.find(", expected")) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &message[..from], &message[to..]),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn decoder(options: &[(&str, &str)]) -> CsvDecoder {
        let map: BTreeMap<_, _> = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let schema = Schema::new(vec![
            Field::new("i", DataType::Int32, true),
            Field::new("s", DataType::Utf8View, true),
            Field::new("d", DataType::Decimal128(5, 2), true),
        ]);
        CsvDecoder::new(CsvOptions::of(TableOptions(&map)), &schema, vec![0, 1, 2]).unwrap()
    }

    fn text(batch: &RecordBatch) -> String {
        arrow::util::pretty::pretty_format_batches(std::slice::from_ref(batch)).unwrap().to_string()
    }

    #[test]
    fn values_and_nulls_are_flinks() {
        let batch = decoder(&[]).decode(b"1,\"a,\"\"b\",1.5\n 2 ,,\n,x,3\n").unwrap();
        assert_eq!(
            text(&batch),
            "+---+------+------+\n| i | s    | d    |\n+---+------+------+\n| 1 | a,\"b | 1.50 |\n| 2 |      |      |\n|   | x    | 3.00 |\n+---+------+------+"
        );
        assert_eq!(batch.column(1).null_count(), 0);
        let batch = decoder(&[("csv.null-literal", "NULL")]).decode(b"NULL,NULL,NULL\n").unwrap();
        assert!(batch.columns().iter().all(|column| column.null_count() == 1));
    }

    #[test]
    fn delimiters_comments_and_quotes_are_options() {
        let options =
            [("csv.field-delimiter", ";"), ("csv.allow-comments", "true"), ("csv.quote-character", "'")];
        let batch = decoder(&options).decode(b"#x\n1;'a;b';2\n").unwrap();
        assert_eq!(batch.num_rows(), 1);
        let batch = decoder(&[("csv.disable-quote-character", "true")]).decode(b"1,\"a,2\n").unwrap();
        assert_eq!(batch.num_rows(), 1);
    }

    #[test]
    fn reasons_are_told() {
        assert_eq!(decoder(&[]).decode(b"x,a,1\n").unwrap_err(), "column `i`: 'x' is not a value of INT");
        assert_eq!(
            decoder(&[]).decode(b"1,a\n").unwrap_err(),
            "incorrect number of fields, expected 3 got 2"
        );
    }
}
