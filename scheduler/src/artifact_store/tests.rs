//! The store over a real folder: what it takes, what it refuses, what is there after a restart.

use std::{fs, io::Write as _, path::Path};

use zip::{ZipWriter, write::SimpleFileOptions};

use super::*;

fn open(folder: &Path, options: &[(&str, &str)]) -> Arc<ArtifactStore> {
    let folder = [("web.upload.dir", folder.to_str().unwrap())];
    let options: Options = folder.iter().chain(options).copied().collect();
    Arc::new(ArtifactStore::open(&options).unwrap())
}

async fn upload(store: &Arc<ArtifactStore>, name: &str, bytes: &[u8]) -> Result<Artifact, Error> {
    let mut upload = store.begin(name).await?;
    for part in bytes.chunks(1_000) {
        upload.write(part).await?;
    }
    upload.finish().await
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn a_script_is_kept_over_a_restart_and_removed_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &[]);
    let kept = upload(&store, "../jobs/daily.sql", b"SELECT 1").await.unwrap();
    assert_eq!((kept.name.as_str(), kept.bytes), ("daily.sql", 8));
    // What a crash leaves of an upload, and what is somebody else's.
    fs::write(folder.path().join(".upload-x"), "half").unwrap();
    fs::write(folder.path().join("notes.sql"), "mine").unwrap();
    let store = open(folder.path(), &[]);
    let listed = store.list().unwrap();
    assert_eq!(listed.iter().map(|artifact| &artifact.id).collect::<Vec<_>>(), [&kept.id]);
    assert_eq!(store.script(&kept.id, None).await.unwrap(), "SELECT 1");
    assert_eq!(files(folder.path()), 2);
    store.remove(&kept.id).await.unwrap();
    assert!(matches!(store.remove(&kept.id).await, Err(Error::Unknown(_))));
    assert!(matches!(store.script(&kept.id, None).await, Err(Error::Unknown(_))));
    assert!(open(folder.path(), &[]).list().unwrap().is_empty());
    assert_eq!(fs::read_to_string(folder.path().join("notes.sql")).unwrap(), "mine");
}

#[tokio::test]
async fn a_script_of_an_archive_is_found_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &[]);
    let bytes = zip(&[("main.sql", b"SELECT 1"), ("etl/load.sql", b"SELECT 2"), ("README", b"\xff")]);
    let archive = upload(&store, "jobs.zip", &bytes).await.unwrap();
    for (wanted, text) in [
        (None, "SELECT 1"),
        (Some("main"), "SELECT 1"),
        (Some("etl/load.sql"), "SELECT 2"),
        (Some("etl/load"), "SELECT 2"),
    ] {
        assert_eq!(store.script(&archive.id, wanted).await.unwrap(), text);
    }
    let unknown = store.script(&archive.id, Some("README")).await.unwrap_err();
    assert!(unknown.to_string().contains("it has `main.sql`, `etl/load.sql`"), "{unknown}");
    let bytes = zip(&[("a.sql", b"SELECT 1"), ("b.sql", b"SELECT 2")]);
    let archive = upload(&store, "two.zip", &bytes).await.unwrap();
    assert!(matches!(store.script(&archive.id, None).await, Err(Error::WhichScript { .. })));
}

#[tokio::test]
async fn what_cannot_run_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &[]);
    let jar = zip(&[("META-INF/MANIFEST.MF", b"Main-Class: Job"), ("Job.class", b"\xca\xfe\xba\xbe")]);
    let outside = zip(&[("../../main.sql", b"SELECT 1")]);
    let bomb = zip(&[("main.sql", &vec![b' '; (16 << 20) + 1])]);
    let many: Vec<(String, &[u8])> = (0..10_001).map(|n| (format!("{n}.sql"), b"".as_slice())).collect();
    let many = zip(&many.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect::<Vec<_>>());
    let mut torn = zip(&[("main.sql", b"SELECT 1")]);
    torn.truncate(torn.len() / 2);
    for (name, bytes, code) in [
        ("job.jar", jar.as_slice(), "jvm-artifact"),
        ("job.zip", &jar, "jvm-artifact"),
        ("job.wasm", b"\0asm", "unsupported-artifact"),
        ("job.py", b"print(1)", "unsupported-artifact"),
        ("job.exe", b"\x7fELF", "unsupported-artifact"),
        ("job.sql", b"SELECT '\xff'", "malformed-script"),
        ("job.sql", b"SELECT '\0'", "malformed-script"),
        ("job.sql", &vec![b' '; (16 << 20) + 1], "long-script"),
        ("job.zip", b"SELECT 1", "malformed-archive"),
        ("job.zip", &torn, "malformed-archive"),
        ("job.zip", &outside, "malformed-archive"),
        ("job.zip", &bomb, "long-script"),
        ("job.zip", &many, "malformed-archive"),
        ("job.zip", &zip(&[("README", b"text")]), "no-script"),
        ("job", b"SELECT 1", "malformed-name"),
    ] {
        let store = match bytes.len() > 16 << 20 {
            true => open(folder.path(), &[("web.upload.max-size", "64mb")]),
            false => store.clone(),
        };
        let refused = upload(&store, name, bytes).await.unwrap_err();
        assert_eq!(refused.code(), code, "{name}: {refused}");
        assert_eq!(files(folder.path()), 0, "{name}");
    }
}

#[tokio::test]
async fn what_is_kept_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let limits =
        [("web.upload.max-size", "10"), ("web.upload.max-total-size", "16"), ("web.upload.max-files", "3")];
    let store = open(folder.path(), &limits);
    assert!(matches!(upload(&store, "a.sql", b"12345678901").await, Err(Error::TooLarge { max: 10 })));
    let first = upload(&store, "a.sql", b"1234567890").await.unwrap();
    assert!(matches!(upload(&store, "b.sql", b"1234567").await, Err(Error::NoRoom { .. })));
    upload(&store, "b.sql", b"123456").await.unwrap();
    store.remove(&first.id).await.unwrap();
    let open_upload = store.begin("c.sql").await.unwrap();
    let another = store.begin("d.sql").await.unwrap();
    assert!(matches!(store.begin("e.sql").await, Err(Error::NoRoom { files: 3, .. })));
    drop(open_upload);
    drop(another);
    upload(&store, "e.sql", b"1").await.unwrap();
    assert_eq!(files(folder.path()), 2);
}

#[tokio::test]
async fn an_operator_can_turn_it_off() {
    let store =
        Arc::new(ArtifactStore::open(&[("web.submit.enable", "false")].into_iter().collect()).unwrap());
    assert!(matches!(store.list(), Err(Error::Off)));
    assert!(matches!(upload(&store, "a.sql", b"SELECT 1").await, Err(Error::Off)));
}

#[tokio::test]
async fn without_a_folder_they_go_with_the_store() {
    let within = tempfile::tempdir().unwrap();
    let options = [("io.tmp.dirs", within.path().to_str().unwrap())].into_iter().collect();
    let store = Arc::new(ArtifactStore::open(&options).unwrap());
    assert_eq!(files(within.path()), 0, "not before it is needed");
    let kept = upload(&store, "a.sql", b"SELECT 1").await.unwrap();
    let folder = store.folder().unwrap().to_owned();
    assert_eq!(store.script(&kept.id, None).await.unwrap(), "SELECT 1");
    assert!(folder.starts_with(within.path()));
    drop(store);
    assert!(!folder.exists());
}
