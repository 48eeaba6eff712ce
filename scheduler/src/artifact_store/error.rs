//! Why an artifact is refused.

use std::io;

/// A refusal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operator has turned uploads off.
    #[error("artifacts are turned off by `web.submit.enable`: send scripts to `/sql/jobs`")]
    Off,
    /// The file has no name that could be kept.
    #[error("the file needs a name that ends in `.sql` or `.zip`, of at most {max} characters")]
    NoName {
        /// The longest that is taken.
        max: usize,
    },
    /// A JVM's classes.
    #[error(
        "`{0}` holds classes of a JVM, which do not run here: write the job as a SQL script and upload that as `.sql`, or several as `.zip`"
    )]
    Jvm(String),
    /// What nothing can be done with.
    #[error("`{0}` is no SQL script: upload a `.sql` file, or a `.zip` that holds some; {1}")]
    Unsupported(String, &'static str),
    /// A script that is none.
    #[error("`{0}` is not text in UTF-8")]
    NotText(String),
    /// A script that is longer than one may be.
    #[error("`{name}` is longer than a script may be: at most {max} bytes are taken")]
    LongScript {
        /// The script.
        name: String,
        /// The longest that is taken.
        max: u64,
    },
    /// An archive without scripts.
    #[error("`{0}` holds no script: a name in it must end in `.sql`")]
    NoScript(String),
    /// An archive that is none, or a broken one.
    #[error("`{name}` cannot be read as a zip archive: {reason}")]
    Archive {
        /// The archive.
        name: String,
        /// Why.
        reason: String,
    },
    /// The file is longer than the options allow.
    #[error("the file is larger than `web.upload.max-size`, {max} bytes")]
    TooLarge {
        /// The longest that is taken.
        max: u64,
    },
    /// All artifacts together would be more than the options allow.
    #[error(
        "no room: all artifacts together may be {files} files and {bytes} bytes (`web.upload.max-files`, `web.upload.max-total-size`); remove some by `DELETE /jars/:jarid`"
    )]
    NoRoom {
        /// The most files.
        files: u32,
        /// The most bytes.
        bytes: u64,
    },
    /// There is no such artifact.
    #[error("there is no artifact `{0}`: `/jars` lists what is")]
    Unknown(String),
    /// The artifact has no such script.
    #[error("`{artifact}` has no script `{script}`; it has {scripts}: name one by `entryClass`")]
    UnknownScript {
        /// The artifact.
        artifact: String,
        /// What was asked for.
        script: String,
        /// What there is.
        scripts: String,
    },
    /// Nobody said which script.
    #[error("`{artifact}` has {scripts}, and none of them is `main.sql`: name one by `entryClass`")]
    WhichScript {
        /// The artifact.
        artifact: String,
        /// What there is.
        scripts: String,
    },
    /// The folder of artifacts cannot be used.
    #[error("cannot keep artifacts in `{folder}`: {source}")]
    Folder {
        /// The folder.
        folder: String,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// A stable word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Off => "artifacts-off",
            Error::NoName { .. } => "malformed-name",
            Error::Jvm(_) => "jvm-artifact",
            Error::Unsupported(..) => "unsupported-artifact",
            Error::NotText(_) => "malformed-script",
            Error::LongScript { .. } => "long-script",
            Error::NoScript(_) => "no-script",
            Error::Archive { .. } => "malformed-archive",
            Error::TooLarge { .. } => "body-too-large",
            Error::NoRoom { .. } => "no-room",
            Error::Unknown(_) => "unknown-artifact",
            Error::UnknownScript { .. } => "unknown-script",
            Error::WhichScript { .. } => "which-script",
            Error::Folder { .. } => "artifact-folder",
        }
    }
}
