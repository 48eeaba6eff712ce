//! The bytes of one file while it is written. Few of them are held, since where they go may be decided when the file is ended; with more
//! of them the file is begun.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    error::Result,
    file_system::{FileSystem, FileWriter},
};

/// A file to be.
pub struct Output {
    path: String,
    file_system: Arc<dyn FileSystem>,
    held: Vec<Bytes>,
    held_bytes: u64,
    /// With more bytes than these the file is begun.
    held_bytes_max: u64,
    writer: Option<Box<dyn FileWriter>>,
    bytes: u64,
}

/// What was written.
pub struct Written {
    /// Where the file is, or would be.
    pub path: String,
    /// Its bytes, where there is no file.
    pub held: Option<Vec<Bytes>>,
    /// How many they are.
    pub bytes: u64,
}

impl Output {
    /// Of a file at a path.
    pub fn new(file_system: Arc<dyn FileSystem>, path: String, held_bytes_max: u64) -> Self {
        Self { path, file_system, held: Vec::new(), held_bytes: 0, held_bytes_max, writer: None, bytes: 0 }
    }

    /// Appends bytes.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.bytes += bytes.len() as u64;
        if self.writer.is_none() && self.held_bytes + bytes.len() as u64 <= self.held_bytes_max {
            self.held_bytes += bytes.len() as u64;
            self.held.push(bytes);
            return Ok(());
        }
        if self.writer.is_none() {
            self.writer = Some(self.file_system.create(&self.path).await?);
        }
        self.held.push(bytes);
        self.held_bytes = 0;
        for bytes in std::mem::take(&mut self.held) {
            if let Some(writer) = &mut self.writer {
                writer.write(bytes).await?;
            }
        }
        Ok(())
    }

    /// Where the file is, or would be.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Bytes that were written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Those of them that are in memory.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes as usize
    }

    /// Ends it; a file that was begun is durable.
    pub async fn close(self) -> Result<Written> {
        let Self { path, held, writer, bytes, .. } = self;
        match writer {
            None => Ok(Written { path, held: Some(held), bytes }),
            Some(mut writer) => {
                writer.close().await?;
                Ok(Written { path, held: None, bytes })
            }
        }
    }
}

impl Written {
    /// Makes a file of it, where it is none.
    pub async fn into_file(mut self, file_system: &dyn FileSystem) -> Result<Self> {
        let Some(held) = self.held.take() else { return Ok(self) };
        let mut writer = file_system.create(&self.path).await?;
        for bytes in held {
            writer.write(bytes).await?;
        }
        writer.close().await?;
        Ok(self)
    }
}
