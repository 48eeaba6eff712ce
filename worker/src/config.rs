//! What a worker is told at its start: its name, its ports, its slots, its memory and its folders.

use std::{net::IpAddr, path::PathBuf};

use thalweg_graph::{
    Options, WorkerId,
    options::{self, InvalidValue},
};
use thalweg_rpc::{Trust, trust};

/// What a worker is told at its start.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Its name for life, never used by another worker before; by default made of its host and data port.
    pub id: Option<WorkerId>,
    /// The host name that it gives to others, and by which block locations are matched.
    pub host: String,
    /// The address that its data port binds; `None` for a worker alone in its process, which opens no port.
    pub bind: Option<IpAddr>,
    /// Its data port; 0 picks a free one.
    pub data_port: u16,
    /// How many slots it offers: the number of its compute threads.
    pub slots: u32,
    /// All the memory that it may use.
    pub memory_bytes: u64,
    /// Folders for spilled data and shuffle files; one below the system's temporary folder where empty.
    pub tmp_dirs: Vec<PathBuf>,
    /// What it proves itself by to JobManagers and other workers, and whom it believes.
    pub trust: Trust,
}

/// Why options do not make a worker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that its option cannot take.
    #[error(transparent)]
    Value(#[from] InvalidValue),
    /// A bind address that is not an IP address.
    #[error("option `{}` cannot be `{value}`: expected an IP address", options::WORKER_BIND_HOST.name)]
    BindHost {
        /// What was given.
        value: String,
    },
    /// A port above 65535.
    #[error("option `{}` cannot be `{value}`: expected a port from 0 to 65535", options::WORKER_DATA_PORT.name)]
    DataPort {
        /// What was given.
        value: u32,
    },
    /// The cluster's secret, or what TLS needs.
    #[error(transparent)]
    Trust(#[from] trust::OptionsError),
    /// No slots.
    #[error("option `{}` cannot be 0: a worker without slots runs nothing", options::TASK_SLOTS.name)]
    NoSlots,
}

impl WorkerConfig {
    /// Reads the `taskmanager.*` and `io.tmp.dirs` options. `host` is used where `taskmanager.host` is not given.
    pub fn from_options(options: &Options, host: &str) -> Result<Self, Error> {
        let bind: String = options.get(&options::WORKER_BIND_HOST)?;
        let bind = bind.parse().map_err(|_| Error::BindHost { value: bind })?;
        let port = options.get(&options::WORKER_DATA_PORT)?;
        let data_port = u16::try_from(port).map_err(|_| Error::DataPort { value: port })?;
        let slots = options.get(&options::TASK_SLOTS)?;
        if slots == 0 {
            return Err(Error::NoSlots);
        }
        let host = options
            .get_optional(&options::WORKER_HOST)?
            .filter(|given| !given.is_empty())
            .unwrap_or_else(|| host.to_owned());
        Ok(Self {
            id: None,
            host,
            bind: Some(bind),
            data_port,
            slots,
            memory_bytes: options.get(&options::PROCESS_MEMORY)?.0,
            tmp_dirs: options.tmp_dirs()?,
            trust: Trust::from_options(options)?,
        })
    }
}

/// A name as Flink's TaskManagers have it, `host:port-random`. Unique without a shared counter.
pub fn new_id(host: &str, port: u16) -> WorkerId {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    WorkerId(format!("{host}:{port}-{:06x}", hasher.finish() & 0xff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_a_configuration_or_say_what_is_wrong() {
        let options: Options = [
            ("taskmanager.numberOfTaskSlots", "3"),
            ("io.tmp.dirs", "/a, /b"),
            ("taskmanager.host", "node7"),
        ]
        .into_iter()
        .collect();
        let config = WorkerConfig::from_options(&options, "here").unwrap();
        assert_eq!((config.slots, config.host.as_str()), (3, "node7"));
        assert_eq!(config.tmp_dirs, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert!(config.id.is_none());
        assert!(new_id("node7", 4711).0.starts_with("node7:4711-"));

        let options: Options = [("taskmanager.bind-host", "nowhere")].into_iter().collect();
        assert_eq!(
            WorkerConfig::from_options(&options, "here").unwrap_err().to_string(),
            "option `taskmanager.bind-host` cannot be `nowhere`: expected an IP address"
        );
    }
}
