//! ORC files, read by stripes.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream, stream::BoxStream};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use orc_rust::{
    ArrowReaderBuilder, projection::ProjectionMask, reader::AsyncChunkReader, schema::TimestampPrecision,
};

use super::{schema, text::vanished};
use crate::error::{Error, Result};

/// A file as the ORC reader wants it.
pub struct OrcFile {
    /// Where the file is.
    pub store: Arc<dyn ObjectStore>,
    /// The file there.
    pub location: Path,
    /// The file, for people.
    pub url: String,
    /// Its length.
    pub file_bytes: u64,
}

impl AsyncChunkReader for OrcFile {
    fn len(&mut self) -> BoxFuture<'_, std::io::Result<u64>> {
        let file_bytes = self.file_bytes;
        async move { Ok(file_bytes) }.boxed()
    }

    fn get_bytes(&mut self, offset_from_start: u64, length: u64) -> BoxFuture<'_, std::io::Result<Bytes>> {
        let range = offset_from_start..offset_from_start.saturating_add(length).min(self.file_bytes);
        async move {
            let bytes = self.store.get_range(&self.location, range).await;
            bytes
                .map_err(|error| std::io::Error::other(vanished(Error::from_store("read", &self.url, error))))
        }
        .boxed()
    }
}

async fn open(file: OrcFile) -> Result<ArrowReaderBuilder<OrcFile>> {
    let url = file.url.clone();
    let builder = ArrowReaderBuilder::try_new_async(file).await;
    let builder = builder.map_err(|error| corrupt(&url, Box::new(error)))?;
    Ok(builder.with_timestamp_precision(TimestampPrecision::Microsecond))
}

/// The columns of a file.
pub async fn read_schema(file: OrcFile) -> Result<Schema> {
    Ok(Schema::clone(&*open(file).await?.schema()))
}

/// The rows of the stripes that begin in a range, with the columns of `wanted`.
pub fn read(
    file: OrcFile,
    range: Range<u64>,
    wanted: SchemaRef,
    batch_size: usize,
) -> BoxStream<'static, Result<RecordBatch>> {
    let url = file.url.clone();
    let opened = async move {
        let builder = open(file).await?;
        schema::check(&url, &builder.schema(), &wanted)?;
        let names: Vec<&str> = wanted.fields().iter().map(|field| field.name().as_str()).collect();
        let mask = ProjectionMask::named_roots(builder.file_metadata().root_data_type(), &names);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(batch_size)
            .with_file_byte_range(range.start as usize..range.end as usize)
            .build_async();
        let failed = url.clone();
        let batches = reader.map_err(move |error| corrupt(&failed, Box::new(error)));
        Ok::<_, Error>(
            batches.and_then(move |batch| std::future::ready(schema::adapt(&url, &batch, &wanted))),
        )
    };
    stream::once(opened).try_flatten().boxed()
}

/// The file system's failure where one is among the causes; else the file is no ORC.
fn corrupt(url: &str, source: crate::error::Cause) -> Error {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(source.as_ref());
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && let Some(own) = io.get_ref().and_then(|inner| inner.downcast_ref::<Error>())
        {
            return match own {
                Error::Vanished { path } => Error::Vanished { path: path.clone() },
                own => Error::Io { action: "read", path: url.to_owned(), source: own.chain().into() },
            };
        }
        next = error.source();
    }
    Error::Corrupt { path: url.to_owned(), format: "ORC", source }
}
