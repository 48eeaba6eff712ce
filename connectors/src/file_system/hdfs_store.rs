//! HDFS as an object store, for reading only. An open file is kept for a moment: a Parquet scan reads many ranges of one
//! file, and each open costs two calls to the NameNode.

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use hdfs_native::{HdfsError, file::FileReader};
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, path::Path,
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    hdfs::Connection,
    retry::{final_error, is_transient},
};
use crate::error::Error;

const KEPT_FILES_MAX: usize = 256;
const KEPT_FOR: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The reading side of one name service.
pub struct HdfsStore {
    connection: Arc<Connection>,
    kept: Mutex<HashMap<String, (Instant, Arc<OpenFile>)>>,
}

struct OpenFile {
    reader: FileReader,
    meta: ObjectMeta,
}

type Chunks = BoxStream<'static, Result<Bytes, Error>>;

impl HdfsStore {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, kept: Mutex::new(HashMap::new()) }
    }

    async fn open(&self, path: &str) -> Result<Arc<OpenFile>, Error> {
        if let Some(file) = self.kept(path) {
            return Ok(file);
        }
        let missing = || Error::NotFound { path: format!("{}{path}", self.connection.root()) };
        let status =
            self.connection.status(path).await?.filter(|status| !status.isdir).ok_or_else(missing)?;
        let owned = path.to_owned();
        let read = move |client: hdfs_native::Client| {
            let path = owned.clone();
            async move { client.read(&path).await }
        };
        let reader = self.connection.run("read", path, read).await?;
        let meta = ObjectMeta {
            location: Path::parse(path).map_err(|error| Error::from_store("read", path, error.into()))?,
            last_modified: DateTime::from_timestamp_millis(status.modification_time as i64)
                .unwrap_or_default(),
            // What can be read: of a file that is still being written, the NameNode knows more than the reader.
            size: reader.file_length() as u64,
            e_tag: None,
            version: None,
        };
        let file = Arc::new(OpenFile { reader, meta });
        self.keep(path, &file);
        Ok(file)
    }

    fn kept(&self, path: &str) -> Option<Arc<OpenFile>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, file) = kept.get(path)?;
        (since.elapsed() < KEPT_FOR).then(|| Arc::clone(file))
    }

    fn keep(&self, path: &str, file: &Arc<OpenFile>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_FILES_MAX {
            kept.retain(|_, (since, _)| since.elapsed() < KEPT_FOR);
        }
        if kept.len() >= KEPT_FILES_MAX {
            kept.clear();
        }
        kept.insert(path.to_owned(), (Instant::now(), Arc::clone(file)));
    }

    fn forget(&self, path: &str) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }

    /// Opens a range and waits for its first bytes, again and again while the failure may pass.
    async fn read(
        &self,
        path: &str,
        options: &GetOptions,
    ) -> object_store::Result<(Arc<OpenFile>, Range<u64>, Chunks)> {
        let patience = self.connection.patience();
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let file = self.open(path).await?;
            options.check_preconditions(&file.meta)?;
            let range = resolve(options, file.meta.size)?;
            let call_path = path.to_owned();
            let connection = Arc::clone(&self.connection);
            let mut chunks = file
                .reader
                .read_range_stream(range.start as usize, (range.end - range.start) as usize)
                .boxed();
            let first = match timeout(patience.call, chunks.next()).await {
                Ok(first) => first,
                Err(_) => Some(Err(HdfsError::IOError(std::io::ErrorKind::TimedOut.into()))),
            };
            match first {
                Some(Err(error)) if is_transient(&error) && start.elapsed() + pause < patience.total => {
                    self.forget(path);
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Some(Err(error)) => {
                    self.forget(path);
                    return Err(final_error(self.connection.call("read", path), error).into());
                }
                first => {
                    let rest = with_timeouts(chunks, patience.call)
                        .map_err(move |error| final_error(connection.call("read", &call_path), error));
                    let first = stream::iter(
                        first.map(|first| first.map_err(|error| Error::Internal(error.to_string()))),
                    );
                    return Ok((file, range, first.chain(rest).boxed()));
                }
            }
        }
    }
}

/// Ends a stream with an error when its next item takes too long.
fn with_timeouts(
    chunks: BoxStream<'static, hdfs_native::Result<Bytes>>,
    longest: Duration,
) -> BoxStream<'static, hdfs_native::Result<Bytes>> {
    stream::unfold(Some(chunks), move |chunks| async move {
        let mut chunks = chunks?;
        match timeout(longest, chunks.next()).await {
            Ok(item) => item.map(|item| (item, Some(chunks))),
            Err(_) => Some((Err(HdfsError::IOError(std::io::ErrorKind::TimedOut.into())), None)),
        }
    })
    .boxed()
}

fn resolve(options: &GetOptions, size: u64) -> object_store::Result<Range<u64>> {
    let Some(range) = &options.range else { return Ok(0..size) };
    range
        .as_range(size)
        .map_err(|source| object_store::Error::Generic { store: "hdfs", source: Box::new(source) })
}

fn absolute(location: &Path) -> String {
    format!("/{location}")
}

fn read_only(operation: &str) -> object_store::Error {
    object_store::Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "HdfsStore".to_owned(),
    }
}

impl fmt::Debug for HdfsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HdfsStore").field(&self.connection.root()).finish()
    }
}

impl fmt::Display for HdfsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.connection.root())
    }
}

#[async_trait]
impl ObjectStore for HdfsStore {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> object_store::Result<PutResult> {
        Err(read_only("put"))
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        Err(read_only("put_multipart"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let path = absolute(location);
        if options.head {
            let meta = self.open(&path).await?.meta.clone();
            options.check_preconditions(&meta)?;
            let payload = GetResultPayload::Stream(stream::empty().boxed());
            return Ok(GetResult { payload, meta, range: 0..0, attributes: Default::default() });
        }
        let (file, range, chunks) = self.read(&path, &options).await?;
        let payload = GetResultPayload::Stream(chunks.map_err(object_store::Error::from).boxed());
        Ok(GetResult { payload, meta: file.meta.clone(), range, attributes: Default::default() })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        locations.map(|_| Err(read_only("delete"))).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        stream::iter([Err(read_only("list"))]).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> object_store::Result<ListResult> {
        Err(read_only("list"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> object_store::Result<()> {
        Err(read_only("copy"))
    }
}
