//! The columns of CSV, JSON and ORC files, for tables that declare none.

use std::{io::Cursor, sync::Arc};

use arrow::{csv::reader::Format, datatypes::Schema, json::reader::infer_json_schema};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore};

use super::{FileFormat, csv::CsvOptions, orc, schema::Union, text::TextRange};
use crate::{
    error::{Error, Result},
    options::TableOptions,
};

/// Bytes at the start of a file that types are guessed from.
const HEAD_BYTES: usize = 1 << 20;
/// Files whose start is looked at.
const FILES_MAX: usize = 16;

/// The columns of several files together.
pub async fn infer(
    format: FileFormat,
    store: &Arc<dyn ObjectStore>,
    root: &str,
    files: Vec<ObjectMeta>,
    options: TableOptions<'_>,
) -> Result<Schema> {
    let mut union = Union::default();
    for meta in files.into_iter().take(FILES_MAX) {
        let url = format!("{root}/{}", meta.location);
        let schema = match format {
            FileFormat::Csv => infer_csv(&url, &head(store, &url, &meta).await?, options)?,
            FileFormat::Json => infer_json(&url, &head(store, &url, &meta).await?)?,
            _ => {
                let file = orc::OrcFile {
                    store: Arc::clone(store),
                    location: meta.location,
                    url: url.clone(),
                    file_bytes: meta.size,
                };
                orc::read_schema(file).await?
            }
        };
        union.add(&url, &schema)?;
    }
    Ok(union.finish())
}

/// The whole lines at the start of a file.
async fn head(store: &Arc<dyn ObjectStore>, url: &str, meta: &ObjectMeta) -> Result<Bytes> {
    let range = TextRange {
        store: Arc::clone(store),
        location: meta.location.clone(),
        url: url.to_owned(),
        range: 0..meta.size,
        file_bytes: meta.size,
    };
    let mut pieces = range.bytes()?;
    let mut head = Vec::new();
    while head.len() < HEAD_BYTES {
        match pieces.try_next().await? {
            Some(piece) => head.extend_from_slice(&piece),
            None => return Ok(head.into()),
        }
    }
    let end = head.iter().rposition(|byte| *byte == b'\n').map_or(head.len(), |newline| newline + 1);
    head.truncate(end);
    Ok(head.into())
}

fn infer_csv(url: &str, head: &[u8], options: TableOptions<'_>) -> Result<Schema> {
    let csv = CsvOptions::of(options);
    if !csv.header {
        return Err(Error::Invalid(format!(
            "the columns of `{url}` have no names; declare the table's columns, or set `csv.header` = `true` if the \
             first line names them"
        )));
    }
    let mut format = Format::default().with_header(true).with_delimiter(csv.delimiter);
    if let Some(quote) = csv.quote {
        format = format.with_quote(quote);
    }
    if let Some(escape) = csv.escape {
        format = format.with_escape(escape);
    }
    if csv.allow_comments {
        format = format.with_comment(b'#');
    }
    let (schema, _) = format.infer_schema(Cursor::new(head), None).map_err(|error| Error::Corrupt {
        path: url.to_owned(),
        format: "CSV",
        source: Box::new(error),
    })?;
    Ok(schema)
}

fn infer_json(url: &str, head: &[u8]) -> Result<Schema> {
    let (schema, _) = infer_json_schema(Cursor::new(head), None).map_err(|error| Error::Corrupt {
        path: url.to_owned(),
        format: "JSON lines",
        source: Box::new(error),
    })?;
    Ok(schema)
}
