//! What is in an artifact: one script, or an archive of scripts. Nothing of an archive is ever unpacked to disk, and of its entries only
//! scripts are read, each up to the length that a script may have.

use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use zip::ZipArchive;

use super::Error;

/// Longest script, as SQL takes it.
const SCRIPT_BYTES_MAX: u64 = 16 << 20;
/// Most entries of an archive.
const ENTRIES_MAX: u16 = 10_000;
/// What ends an archive: a signature, and within it the number of entries (APPNOTE.TXT, 4.3.16).
const END_SIGNATURE: [u8; 4] = *b"PK\x05\x06";
const END_BYTES: u64 = 22;
const END_ENTRIES_AT: usize = 10;
/// Longest comment behind it.
const COMMENT_BYTES_MAX: u64 = u16::MAX as u64;
/// The script that runs where none is named.
const MAIN: &str = "main.sql";

/// The names of an artifact's scripts, or why it is not taken.
pub fn list(path: &Path, name: &str) -> Result<Vec<String>, Error> {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    match extension.as_str() {
        "sql" => {
            read_text(open(path, name)?, name)?;
            Ok(vec![name.to_owned()])
        }
        "zip" => list_archive(path, name),
        "jar" | "war" | "class" => Err(Error::Jvm(name.to_owned())),
        "wasm" => Err(unsupported(name, "functions in WebAssembly are not there yet")),
        "py" => Err(unsupported(name, "functions in Python are not there yet")),
        _ => Err(unsupported(
            name,
            "a job in Rust is a binary of its own that links `thalweg` and submits itself",
        )),
    }
}

fn unsupported(name: &str, instead: &'static str) -> Error {
    Error::Unsupported(name.to_owned(), instead)
}

/// The script that is to run: the one that is named (its `.sql` may be left out), or the only one, or `main.sql`.
pub fn choose<'a>(scripts: &'a [String], artifact: &str, wanted: Option<&str>) -> Result<&'a str, Error> {
    let quoted = || format!("`{}`", scripts.join("`, `"));
    let find = |name: &str| scripts.iter().find(|script| *script == name);
    if let Some(wanted) = wanted {
        return find(wanted).or_else(|| find(&format!("{wanted}.sql"))).map(String::as_str).ok_or_else(
            || {
                let (artifact, script) = (artifact.to_owned(), wanted.to_owned());
                Error::UnknownScript { artifact, script, scripts: quoted() }
            },
        );
    }
    match scripts {
        [only] => Ok(only),
        _ => find(MAIN).map(String::as_str).ok_or_else(|| {
            let artifact = artifact.to_owned();
            Error::WhichScript { artifact, scripts: quoted() }
        }),
    }
}

/// The text of one of an artifact's scripts.
pub fn read(path: &Path, name: &str, script: &str) -> Result<String, Error> {
    if !name.to_ascii_lowercase().ends_with(".zip") {
        return read_text(open(path, name)?, name);
    }
    let mut archive = open_archive(path, name)?;
    let entry = archive.by_name(script).map_err(|error| broken(name, error))?;
    read_text(entry, script)
}

fn list_archive(path: &Path, name: &str) -> Result<Vec<String>, Error> {
    let mut archive = open_archive(path, name)?;
    let mut scripts = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| broken(name, error))?;
        let entry_name = entry.name().map_err(|error| broken(name, error))?.into_owned();
        let lower = entry_name.to_ascii_lowercase();
        if lower.ends_with(".class") || lower == "meta-inf/manifest.mf" {
            return Err(Error::Jvm(name.to_owned()));
        }
        if entry.enclosed_name().is_none() {
            return Err(broken(name, format!("the name `{entry_name}` leads out of it")));
        }
        if entry.is_file() && lower.ends_with(".sql") {
            scripts.push(entry_name);
        }
    }
    // What is refused when it is run is refused when it is sent.
    for script in &scripts {
        let entry = archive.by_name(script).map_err(|error| broken(name, error))?;
        read_text(entry, script)?;
    }
    match scripts.is_empty() {
        true => Err(Error::NoScript(name.to_owned())),
        false => Ok(scripts),
    }
}

fn open(path: &Path, name: &str) -> Result<File, Error> {
    // Somebody else has removed it.
    File::open(path).map_err(|_| Error::Unknown(name.to_owned()))
}

fn open_archive(path: &Path, name: &str) -> Result<ZipArchive<BufReader<File>>, Error> {
    let mut file = open(path, name)?;
    match entries(&mut file) {
        Ok(Some(count)) if count <= ENTRIES_MAX => {}
        Ok(Some(_)) => return Err(broken(name, format!("it has more than {ENTRIES_MAX} entries"))),
        Ok(None) => return Err(broken(name, "it has no end")),
        Err(error) => return Err(broken(name, error)),
    }
    ZipArchive::new(BufReader::new(file)).map_err(|error| broken(name, error))
}

/// How many entries an archive says that it has: looked at before all of them are read into memory.
fn entries(file: &mut File) -> std::io::Result<Option<u16>> {
    let length = file.seek(SeekFrom::End(0))?;
    let tail_bytes = length.min(END_BYTES + COMMENT_BYTES_MAX);
    file.seek(SeekFrom::Start(length - tail_bytes))?;
    let mut tail = Vec::new();
    file.take(tail_bytes).read_to_end(&mut tail)?;
    file.seek(SeekFrom::Start(0))?;
    // Whichever of them a reader takes for the end, none may say more.
    let ends = tail.windows(END_BYTES as usize).filter(|end| end.starts_with(&END_SIGNATURE));
    Ok(ends.map(|end| u16::from_le_bytes([end[END_ENTRIES_AT], end[END_ENTRIES_AT + 1]])).max())
}

fn read_text(from: impl Read, name: &str) -> Result<String, Error> {
    let mut bytes = Vec::new();
    from.take(SCRIPT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| broken(name, error))?;
    if bytes.len() as u64 > SCRIPT_BYTES_MAX {
        return Err(Error::LongScript { name: name.to_owned(), max: SCRIPT_BYTES_MAX });
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::NotText(name.to_owned()))?;
    match text.contains('\0') {
        true => Err(Error::NotText(name.to_owned())),
        false => Ok(text),
    }
}

fn broken(name: &str, reason: impl ToString) -> Error {
    Error::Archive { name: name.to_owned(), reason: reason.to_string() }
}
