//! A disk in memory. What was written and not synced may be lost in a crash, each write by itself; a sync may fail; there may be no room.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::{Rng as _, rngs::StdRng};
use redb::{Builder, Database, DatabaseError, StorageBackend};
use thalweg_scheduler::Disk;
use tokio::time::Sleep;

/// The disk of one host.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Platter>>);

struct Platter {
    files: BTreeMap<PathBuf, File>,
    /// Counts crashes: a process of before one writes no more.
    crashes: u32,
    /// Syncs that fail next.
    failing_syncs: u32,
    full: bool,
    /// How long a write takes at most.
    latency_max: Duration,
    random: StdRng,
}

#[derive(Default)]
struct File {
    /// What is read.
    current: Vec<u8>,
    /// What is there after a crash, but for what of `unsynced` came as far.
    synced: Vec<u8>,
    unsynced: Vec<Write>,
}

enum Write {
    Bytes(u64, Vec<u8>),
    Length(u64),
}

impl Write {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Write::Length(length) => content.resize(*length as usize, 0),
            Write::Bytes(at, bytes) => {
                let (from, to) = (*at as usize, *at as usize + bytes.len());
                if content.len() < to {
                    content.resize(to, 0);
                }
                content[from..to].copy_from_slice(bytes);
            }
        }
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new(random: StdRng) -> Self {
        Self(Arc::new(Mutex::new(Platter {
            files: BTreeMap::new(),
            crashes: 0,
            failing_syncs: 0,
            full: false,
            latency_max: Duration::from_millis(2),
            random,
        })))
    }

    /// The host loses its power: of what was not synced, some is there afterwards and some is not.
    pub fn crash(&self) {
        let platter = &mut *self.0.lock();
        platter.crashes += 1;
        // All, none or some of it.
        let share = *[0.0, 0.5, 1.0].get(platter.random.random_range(0..3)).unwrap_or(&0.5);
        for file in platter.files.values_mut() {
            for write in std::mem::take(&mut file.unsynced) {
                if platter.random.random_bool(share) {
                    write.apply(&mut file.synced);
                }
            }
            file.current.clone_from(&file.synced);
        }
    }

    /// The next syncs fail.
    pub fn fail_syncs(&self, count: u32) {
        self.0.lock().failing_syncs = count;
    }

    /// Whether there is no room left.
    pub fn set_full(&self, full: bool) {
        self.0.lock().full = full;
    }

    /// How long a write takes at most.
    pub fn set_latency(&self, latency_max: Duration) {
        self.0.lock().latency_max = latency_max;
    }

    /// Nothing is wrong with it any more.
    pub fn mend(&self) {
        self.fail_syncs(0);
        self.set_full(false);
        self.set_latency(Duration::from_millis(2));
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

fn no_room() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full")
}

fn crashed() -> io::Error {
    io::Error::other("the simulated host has crashed")
}

impl Disk for SimDisk {
    fn open(&self, builder: &Builder, file: &Path) -> Result<Database, DatabaseError> {
        let crashes = {
            let mut platter = self.0.lock();
            platter.files.entry(file.to_owned()).or_default();
            platter.crashes
        };
        builder.create_with_backend(Backend { disk: self.clone(), file: file.to_owned(), crashes })
    }

    fn run_writer(&self, writer: BoxFuture<'static, ()>) -> io::Result<()> {
        tokio::spawn(Slow { disk: self.clone(), writer, waiting: None });
        Ok(())
    }

    fn read(&self, file: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().files.get(file).map(|file| file.current.clone()))
    }

    fn replace(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut platter = self.0.lock();
        if platter.full {
            return Err(no_room());
        }
        let file = platter.files.entry(file.to_owned()).or_default();
        *file = File { current: bytes.to_vec(), synced: bytes.to_vec(), unsynced: Vec::new() };
        Ok(())
    }
}

/// A writer that waits for its disk before it goes on.
struct Slow {
    disk: SimDisk,
    writer: BoxFuture<'static, ()>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Future for Slow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let waiting = this.waiting.get_or_insert_with(|| {
            let platter = &mut *this.disk.0.lock();
            let latency = platter.random.random_range(0..=platter.latency_max.as_micros() as u64);
            Box::pin(tokio::time::sleep(Duration::from_micros(latency)))
        });
        ready!(waiting.as_mut().poll(context));
        this.waiting = None;
        this.writer.as_mut().poll(context)
    }
}

/// One file, as one process has it open.
#[derive(Debug)]
struct Backend {
    disk: SimDisk,
    file: PathBuf,
    crashes: u32,
}

impl Backend {
    fn with<T>(&self, work: impl FnOnce(&mut File, bool) -> io::Result<T>) -> io::Result<T> {
        let platter = &mut *self.disk.0.lock();
        if platter.crashes != self.crashes {
            return Err(crashed());
        }
        let file = platter.files.get_mut(&self.file).ok_or_else(crashed)?;
        work(file, platter.full)
    }

    fn write(&self, write: Write) -> io::Result<()> {
        self.with(|file, full| {
            if full {
                return Err(no_room());
            }
            write.apply(&mut file.current);
            file.unsynced.push(write);
            Ok(())
        })
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.with(|file, _| Ok(file.current.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|file, _| {
            let from = offset as usize;
            let bytes = file.current.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write(Write::Length(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        {
            let platter = &mut *self.disk.0.lock();
            if platter.crashes == self.crashes && platter.failing_syncs > 0 {
                platter.failing_syncs -= 1;
                return Err(io::Error::other("the simulated disk could not sync"));
            }
        }
        self.with(|file, _| {
            for write in std::mem::take(&mut file.unsynced) {
                write.apply(&mut file.synced);
            }
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Backend::write(self, Write::Bytes(offset, data.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::randomness;

    fn backend(disk: &SimDisk) -> Backend {
        let file = PathBuf::from("a");
        let crashes = {
            let mut platter = disk.0.lock();
            platter.files.entry(file.clone()).or_default();
            platter.crashes
        };
        Backend { disk: disk.clone(), file, crashes }
    }

    #[test]
    fn only_what_was_synced_is_sure_to_be_there_after_a_crash() {
        let mut lost = 0;
        for seed in 0..20 {
            let disk = SimDisk::new(randomness::generator(seed, "disk"));
            let file = backend(&disk);
            StorageBackend::write(&file, 0, b"kept").expect("there is room");
            file.sync_data().expect("it works");
            StorageBackend::write(&file, 4, b"lost").expect("there is room");
            disk.crash();
            assert!(file.len().is_err(), "a process of before the crash is gone");
            let file = backend(&disk);
            let mut bytes = vec![0; file.len().expect("it works") as usize];
            file.read(0, &mut bytes).expect("it works");
            assert!(bytes.starts_with(b"kept"));
            lost += u32::from(bytes.len() == 4);
        }
        assert!((1..20).contains(&lost), "{lost} of 20 lost");
    }
}
