//! HDFS by its own protocol (hdfs-native). One value per name service; it connects on first use and outlives the NameNode's
//! restarts.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use hdfs_native::{Client, ClientBuilder, HdfsError, WriteOptions, client, file};
use object_store::ObjectStore;
use tokio::{runtime::Handle, time::timeout};

use super::{
    BlockHosts, FileStatus, FileSystem, FileWriter,
    block_locations::BlockLocations,
    hadoop_conf::HadoopConf,
    hdfs_store::HdfsStore,
    retry::{Call, Patience, final_error, retry},
};
use crate::error::{Error, Result};

const FOLDER_PERMISSION: u32 = 0o755;

/// One HDFS name service.
#[derive(Debug, Clone)]
pub struct Hdfs {
    connection: Arc<Connection>,
    locations: Arc<BlockLocations>,
    store: Arc<HdfsStore>,
}

/// The client of one name service, replaced when it stalls.
#[derive(Debug)]
pub(super) struct Connection {
    root: String,
    conf: HadoopConf,
    patience: Patience,
    runtime: Option<Handle>,
    client: RwLock<Option<Client>>,
}

impl Hdfs {
    /// The name service or NameNode `authority`; nothing is connected yet. With a runtime, its sockets are driven there.
    pub fn new(authority: &str, conf: HadoopConf, patience: Patience, runtime: Option<Handle>) -> Self {
        let locations = Arc::new(BlockLocations::new(authority, &conf));
        let root = format!("hdfs://{authority}");
        let connection = Arc::new(Connection { root, conf, patience, runtime, client: RwLock::new(None) });
        let store = Arc::new(HdfsStore::new(Arc::clone(&connection)));
        Self { connection, locations, store }
    }
}

impl Connection {
    pub(super) fn root(&self) -> &str {
        &self.root
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    pub(super) fn call<'a>(&'a self, action: &'static str, path: &'a str) -> Call<'a> {
        Call { service: &self.root, action, path }
    }

    pub(super) fn client(&self) -> Result<Client> {
        if let Some(client) = &*self.client.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(client.clone());
        }
        let builder = ClientBuilder::new().with_url(&self.root).with_config(self.conf.0.clone());
        let builder = match &self.runtime {
            Some(runtime) => builder.with_io_runtime(runtime.clone()),
            None => builder,
        };
        let client = builder.build().map_err(|error| match error {
            HdfsError::InvalidArgument(reason) => Error::InvalidOption(format!(
                "`{}` is not the address of an HDFS: {reason}; give `host:port`, or a name service that the \
                 `hdfs-site.xml` in HADOOP_CONF_DIR defines",
                self.root
            )),
            error => final_error(self.call("connect to", "/"), error),
        })?;
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        Ok(client)
    }

    /// Forgets connections that do not answer; the next call makes new ones.
    pub(super) fn reset(&self) {
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) async fn run<T, F>(
        &self,
        action: &'static str,
        path: &str,
        attempt: impl Fn(Client) -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = hdfs_native::Result<T>> + Send,
    {
        self.client()?;
        let stalled = || self.reset();
        let again = || {
            let attempt = self.client().map(&attempt);
            async move {
                match attempt {
                    Ok(attempt) => attempt.await,
                    Err(error) => Err(HdfsError::OperationFailed(error.chain())),
                }
            }
        };
        retry(self.patience, self.call(action, path), stalled, again).await
    }

    pub(super) async fn status(&self, path: &str) -> Result<Option<client::FileStatus>> {
        let owned = path.to_owned();
        let look = move |client: Client| {
            let path = owned.clone();
            async move { client.get_file_info(&path).await }
        };
        match self.run("look at", path, look).await {
            Ok(status) => Ok(Some(status)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn file_status(status: client::FileStatus) -> FileStatus {
    FileStatus {
        path: status.path,
        is_dir: status.isdir,
        bytes: status.length as u64,
        modified_ms: status.modification_time as i64,
    }
}

/// A closure that runs one client call with its own copies of the paths.
macro_rules! on_client {
    ($client:ident, [$($name:ident),+], $call:expr) => {{
        $(let $name = $name.to_owned();)+
        move |$client: Client| {
            $(let $name = $name.clone();)+
            async move { $call.await }
        }
    }};
}

#[async_trait]
impl FileSystem for Hdfs {
    fn root(&self) -> &str {
        self.connection.root()
    }

    fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store) as Arc<dyn ObjectStore>
    }

    async fn status(&self, path: &str) -> Result<Option<FileStatus>> {
        Ok(self.connection.status(path).await?.map(file_status))
    }

    async fn list(&self, folder: &str) -> Result<Vec<FileStatus>> {
        let list = on_client!(client, [folder], client.list_status(&folder, false));
        let found = self.connection.run("list", folder, list).await?;
        let mut statuses: Vec<_> = found.into_iter().map(file_status).collect();
        statuses.sort();
        Ok(statuses)
    }

    async fn create(&self, path: &str) -> Result<Box<dyn FileWriter>> {
        let create =
            on_client!(client, [path], client.create(&path, WriteOptions::default().overwrite(true)));
        let writer = self.connection.run("write", path, create).await?;
        Ok(Box::new(HdfsWriter { connection: Arc::clone(&self.connection), path: path.to_owned(), writer }))
    }

    async fn create_dirs(&self, path: &str) -> Result<()> {
        let create = on_client!(client, [path], client.mkdirs(&path, FOLDER_PERMISSION, true));
        self.connection.run("create folder", path, create).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let rename = on_client!(client, [from, to], client.rename(&from, &to, false));
        self.connection.run("move a file to", to, rename).await
    }

    async fn exchange(&self, _one: &str, _other: &str) -> Result<bool> {
        Ok(false)
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let delete = on_client!(client, [path], client.delete(&path, true));
        self.connection.run("delete", path, delete).await.map(|_existed| ())
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        let read = on_client!(client, [path], async {
            let reader = client.read(&path).await?;
            reader.read_range(0, reader.file_length()).await
        });
        self.connection.run("read", path, read).await
    }

    async fn block_hosts(&self, path: &str) -> Result<Vec<BlockHosts>> {
        self.locations.of(path).await
    }
}

struct HdfsWriter {
    connection: Arc<Connection>,
    path: String,
    writer: file::FileWriter,
}

impl HdfsWriter {
    /// Writing is not repeated: how much of a failed write arrived is not known. The task is tried again instead.
    fn failed(&self, outcome: std::result::Result<HdfsError, tokio::time::error::Elapsed>) -> Error {
        match outcome {
            Ok(error) => final_error(self.connection.call("write", &self.path), error),
            Err(_) => Error::Unreachable {
                service: self.connection.root().to_owned(),
                action: "write",
                path: self.path.clone(),
                seconds: self.connection.patience().total.as_secs(),
                source: "no answer in time".into(),
            },
        }
    }
}

#[async_trait]
impl FileWriter for HdfsWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        match timeout(self.connection.patience().total, self.writer.write(bytes)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.failed(Ok(error))),
            Err(elapsed) => Err(self.failed(Err(elapsed))),
        }
    }

    async fn close(&mut self) -> Result<()> {
        match timeout(self.connection.patience().total, self.writer.close()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.failed(Ok(error))),
            Err(elapsed) => Err(self.failed(Err(elapsed))),
        }
    }
}
