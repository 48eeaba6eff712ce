//! A small WebHDFS client, independent of the engine's own HDFS code, for preparing and checking what is in HDFS.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;

/// Time for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A client that acts as one user.
#[derive(Debug, Clone)]
pub struct WebHdfs {
    /// The NameNode's web address, `http://host:port`.
    pub web: String,
    /// Who asks.
    pub user: String,
    http: Client,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path below the listed folder.
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

impl WebHdfs {
    /// A client for `web` as `user`.
    pub fn new(web: &str, user: &str) -> Result<Self> {
        let http = Client::builder().timeout(REQUEST_TIMEOUT).build()?;
        Ok(Self { web: web.to_owned(), user: user.to_owned(), http })
    }

    /// Writes a file, making its folders.
    pub async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        // The NameNode names the DataNode first; the bytes are sent once.
        let answer =
            self.call(Method::PUT, path, "CREATE&overwrite=true&blocksize=1048576&noredirect=true").await?;
        let answer: Value = answer.json().await?;
        let location = answer["Location"].as_str().context("the NameNode named no DataNode")?;
        let response = self.http.put(location).body(bytes).send().await?;
        check(response).await.map(drop)
    }

    /// Gives a file another name.
    pub async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let answer = self.call(Method::PUT, from, &format!("RENAME&destination={to}")).await?;
        let answer: Value = answer.json().await?;
        ensure!(answer["boolean"] == true, "`{from}` was not renamed to `{to}`");
        Ok(())
    }

    /// Copies local files into an HDFS folder.
    pub async fn put_files(
        &self,
        files: impl IntoIterator<Item = impl AsRef<Path>>,
        folder: &str,
    ) -> Result<()> {
        for file in files {
            let file = file.as_ref();
            let name = file.file_name().and_then(|name| name.to_str()).context("a file has a name")?;
            let bytes = tokio::fs::read(file).await.with_context(|| file.display().to_string())?;
            self.put(&format!("{folder}/{name}"), bytes).await?;
        }
        Ok(())
    }

    /// Reads a file.
    pub async fn get(&self, path: &str) -> Result<Vec<u8>> {
        Ok(self.call(Method::GET, path, "OPEN").await?.bytes().await?.to_vec())
    }

    /// All files below a folder, in order of their paths; none where it does not exist.
    pub async fn files(&self, folder: &str) -> Result<Vec<Entry>> {
        let mut files = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(below) = folders.pop() {
            let response = self.request(Method::GET, &format!("{folder}/{below}"), "LISTSTATUS").await?;
            if response.status() == StatusCode::NOT_FOUND {
                continue;
            }
            let listing: Value = check(response).await?.json().await?;
            for status in listing["FileStatuses"]["FileStatus"].as_array().into_iter().flatten() {
                let path = format!("{below}{}", status["pathSuffix"].as_str().unwrap_or_default());
                match status["type"].as_str() {
                    Some("DIRECTORY") => folders.push(path + "/"),
                    _ => files.push(Entry { path, bytes: status["length"].as_u64().unwrap_or_default() }),
                }
            }
        }
        files.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(files)
    }

    /// Makes a folder with permissions such as `755`.
    pub async fn make_folder(&self, path: &str, permission: &str) -> Result<()> {
        self.call(Method::PUT, path, &format!("MKDIRS&permission={permission}")).await.map(drop)
    }

    /// Limits the bytes that all files below a folder may take, replicas counted.
    pub async fn set_space_quota(&self, path: &str, bytes: u64) -> Result<()> {
        let operation = format!("SETQUOTA&namespacequota={}&storagespacequota={bytes}", i64::MAX);
        self.call(Method::PUT, path, &operation).await.map(drop)
    }

    /// Removes a file or folder, with all below it.
    pub async fn remove(&self, path: &str) -> Result<()> {
        self.call(Method::DELETE, path, "DELETE&recursive=true").await.map(drop)
    }

    /// The hosts of each block of a file.
    pub async fn block_hosts(&self, path: &str) -> Result<Vec<Vec<String>>> {
        let answer: Value = self.call(Method::GET, path, "GETFILEBLOCKLOCATIONS").await?.json().await?;
        let blocks = answer["BlockLocations"]["BlockLocation"].as_array().cloned().unwrap_or_default();
        let hosts = |block: &Value| -> Vec<String> {
            let hosts = block["hosts"].as_array().into_iter().flatten();
            hosts.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Ok(blocks.iter().map(hosts).collect())
    }

    async fn call(&self, method: Method, path: &str, operation: &str) -> Result<Response> {
        let response = self.request(method, path, operation).await?;
        check(response).await.with_context(|| format!("{operation} of `{path}`"))
    }

    async fn request(&self, method: Method, path: &str, operation: &str) -> Result<Response> {
        let path = path.replace('%', "%25");
        let url = format!("{}/webhdfs/v1{path}?user.name={}&op={operation}", self.web, self.user);
        Ok(self.http.request(method, url).send().await?)
    }
}

async fn check(response: Response) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    bail!("{status}: {}", response.text().await.unwrap_or_default())
}
