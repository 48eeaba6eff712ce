use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    handshake,
    network::Stream,
    secret::ClusterSecret,
    trust::{self, Accepted, DataStream, Trust},
};

use super::*;

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Writes a certificate for `names` and its key.
    fn issue(&self, folder: &Path, names: &[&str]) {
        let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        fs::write(folder.join("ca.pem"), self.issuer.pem()).unwrap();
        fs::write(folder.join("certificate.pem"), certificate.pem()).unwrap();
        let path = folder.join("key.pem");
        fs::write(&path, key.serialize_pem()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// The options of a process with the files of a folder.
fn options(folder: &Path, more: &[(&str, &str)]) -> Options {
    let file = |name: &str| folder.join(name).display().to_string();
    let (ca, certificate, key) = (file("ca.pem"), file("certificate.pem"), file("key.pem"));
    let files = [
        ("security.ssl.enabled", "true"),
        ("security.ssl.ca", &ca),
        ("security.ssl.certificate", &certificate),
        ("security.ssl.key", &key),
    ];
    files.into_iter().chain(more.iter().copied()).collect()
}

fn process(authority: &Authority, names: &[&str], more: &[(&str, &str)]) -> (TempDir, Trust) {
    let folder = tempfile::tempdir().unwrap();
    authority.issue(folder.path(), names);
    let trust = trust(folder.path(), more);
    (folder, trust)
}

fn trust(folder: &Path, more: &[(&str, &str)]) -> Trust {
    Trust::from_options(&options(folder, more)).unwrap()
}

/// A call to a control port and how it is taken there.
async fn meet(dials: &Trust, is_dialled: &Trust, host: &str) -> [Result<Accepted, String>; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dialling = async {
        let mut stream = dials.connect(&format!("{host}:{port}")).await?;
        // A certificate that is refused is heard of at the first answer.
        stream.write_all(b"GET").await.map_err(trust::Error::Connect)?;
        let read = stream.read_u8().await.map_err(|error| {
            Failed::in_chain(&error).map_or(trust::Error::Connect(error), trust::Error::Tls)
        });
        read.map(|_| Accepted { stream, is_certified: false, binding: None })
    };
    let accepting = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut accepted = is_dialled.accept(Box::new(stream)).await?;
        accepted.stream.write_all(b"!").await.map_err(Failed::Broken)?;
        accepted.stream.flush().await.map_err(Failed::Broken)?;
        Ok(accepted)
    };
    let (dialled, accepted): (Result<_, trust::Error>, Result<_, Failed>) = tokio::join!(dialling, accepting);
    [dialled.map_err(|error| error.to_string()), accepted.map_err(|error| error.to_string())]
}

fn told(met: &Result<Accepted, String>) -> &str {
    met.as_ref().err().map_or("opened", String::as_str)
}

#[tokio::test]
async fn only_certificates_of_the_authorities_pass_for_the_names_that_they_have() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (_a, a) = process(&ours, &["127.0.0.1"], &[]);
    let (_b, b) = process(&ours, &["localhost"], &[]);
    let (_c, stranger) = process(&theirs, &["127.0.0.1"], &[]);
    assert!(matches!(&meet(&a, &a, "127.0.0.1").await, [Ok(_), Ok(accepted)] if !accepted.is_certified));
    assert_eq!(told(&meet(&a, &b, "localhost").await[0]), "opened");
    let [dialled, accepted] = meet(&a, &b, "127.0.0.1").await;
    assert!(told(&dialled).contains("names another host"), "{}", told(&dialled));
    assert!(told(&accepted).contains("it refuses the certificate"), "{}", told(&accepted));
    let (_d, any_name) = process(&ours, &["nobody"], &[("security.ssl.verify-hostname", "false")]);
    assert_eq!(told(&meet(&any_name, &b, "127.0.0.1").await[0]), "opened");
    let [dialled, accepted] = meet(&a, &stranger, "127.0.0.1").await;
    assert!(told(&dialled).contains("`security.ssl.ca` here"), "{}", told(&dialled));
    assert!(told(&accepted).contains("`security.ssl.ca` there"), "{}", told(&accepted));
    let [dialled, _] = meet(&any_name, &stranger, "127.0.0.1").await;
    assert!(told(&dialled).contains("`security.ssl.ca` here"), "{}", told(&dialled));
}

#[tokio::test]
async fn callers_show_certificates_where_they_are_asked() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let cluster = [("security.ssl.client-authentication", "cluster")];
    let all = [("security.ssl.client-authentication", "all")];
    let folder = tempfile::tempdir().unwrap();
    ours.issue(folder.path(), &["127.0.0.1"]);
    let (asks_processes, asks_all) = (trust(folder.path(), &cluster), trust(folder.path(), &all));
    let anonymous = [("security.ssl.certificate", ""), ("security.ssl.key", "")];
    let anonymous = trust(folder.path(), &anonymous);
    let met = meet(&asks_all, &asks_processes, "127.0.0.1").await;
    assert!(matches!(&met, [Ok(_), Ok(accepted)] if accepted.is_certified), "{}", told(&met[0]));
    let met = meet(&anonymous, &asks_processes, "127.0.0.1").await;
    assert!(matches!(&met, [Ok(_), Ok(accepted)] if !accepted.is_certified), "{}", told(&met[0]));
    let [dialled, accepted] = meet(&anonymous, &asks_all, "127.0.0.1").await;
    assert!(told(&dialled).contains("it asks for a certificate"), "{}", told(&dialled));
    assert!(told(&accepted).contains("it has shown no certificate"), "{}", told(&accepted));
    // A certificate of others, by somebody who believes ours.
    let other = tempfile::tempdir().unwrap();
    theirs.issue(other.path(), &["127.0.0.1"]);
    fs::write(other.path().join("ca.pem"), ours.issuer.pem()).unwrap();
    let [dialled, accepted] = meet(&trust(other.path(), &[]), &asks_processes, "127.0.0.1").await;
    assert!(told(&accepted).contains("`security.ssl.ca` here"), "{}", told(&accepted));
    assert!(dialled.is_err());
    assert!(anonymous.check_serves().is_err() && asks_all.check_serves().is_ok());
}

#[tokio::test]
async fn without_tls_on_both_sides_each_is_told() {
    let (_a, tls) = process(&Authority::new(), &["127.0.0.1"], &[]);
    let secret = Some(ClusterSecret::new("0123456789abcdef").unwrap());
    let plain = Trust { secret: secret.clone(), ..Trust::default() };
    let [dialled, accepted] = meet(&plain, &tls, "127.0.0.1").await;
    assert!(told(&dialled).contains("speaks TLS and this one does not"), "{}", told(&dialled));
    assert!(told(&accepted).contains("does not speak TLS"), "{}", told(&accepted));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asking = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /v1/overview HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let accepting = async { tls.accept(Box::new(listener.accept().await.unwrap().0)).await };
    let (answer, accepted) = tokio::join!(asking, accepting);
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("speaks HTTPS"), "{answer}");
    assert!(matches!(accepted, Err(Failed::Plain)));
}

async fn meet_data(dials: &Trust, is_dialled: &Trust) -> [Result<DataStream, trust::Error>; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let accepting = async { is_dialled.accept_data(listener.accept().await.unwrap().0).await };
    let address = address.to_string();
    let (dialled, accepted) = tokio::join!(dials.connect_data(&address), accepting);
    [dialled, accepted]
}

#[tokio::test]
async fn data_ports_are_held_to_the_same() {
    let ours = Authority::new();
    let more =
        [("security.ssl.client-authentication", "cluster"), ("security.cluster.secret", "0123456789abcdef")];
    let (folder, knowing) = process(&ours, &["127.0.0.1"], &more);
    assert!(matches!(meet_data(&knowing, &knowing).await, [Ok(DataStream::Tls(_)), Ok(DataStream::Tls(_))]));
    let anonymous = [more[1], ("security.ssl.certificate", ""), ("security.ssl.key", "")];
    let [dialled, accepted] = meet_data(&trust(folder.path(), &anonymous), &knowing).await;
    assert!(dialled.is_err() && matches!(accepted, Err(trust::Error::Tls(Failed::Tls(_)))));
    let other = [more[0], ("security.cluster.secret", "another than that one")];
    let [dialled, accepted] = meet_data(&trust(folder.path(), &other), &knowing).await;
    let wrong = |met| matches!(met, Err(trust::Error::Handshake(handshake::Error::WrongSecret)));
    assert!(wrong(dialled) && wrong(accepted));
    let plain = Trust { secret: knowing.secret.clone(), ..Trust::default() };
    let [dialled, accepted] = meet_data(&plain, &knowing).await;
    assert!(matches!(dialled, Err(trust::Error::Handshake(handshake::Error::NoTlsHere))));
    assert!(matches!(accepted, Err(trust::Error::Tls(Failed::Plain))));
}

#[tokio::test]
async fn proofs_of_the_secret_cannot_be_carried_from_one_connection_to_another() {
    let more = [("security.cluster.secret", "0123456789abcdef")];
    let (_folder, knowing) = process(&Authority::new(), &["127.0.0.1"], &more);
    let ([outer, inner], tls) = (
        [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()],
        knowing.clone().without_secret(),
    );
    let (outer_address, inner_address) =
        (outer.local_addr().unwrap().to_string(), inner.local_addr().unwrap().to_string());
    // Somebody in the middle who has a good certificate, but not the secret.
    let carrying = async {
        let mut from: Box<dyn Stream> =
            tls.accept(Box::new(outer.accept().await.unwrap().0)).await.unwrap().stream;
        let mut to = tls.connect(&inner_address).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
    };
    let accepting = async {
        let Accepted { mut stream, binding, .. } =
            knowing.accept(Box::new(inner.accept().await.unwrap().0)).await.unwrap();
        handshake::accept(&mut stream, handshake::Purpose::Control, knowing.secret.as_ref(), binding).await
    };
    let (dialled, accepted, ()) = tokio::join!(knowing.connect(&outer_address), accepting, carrying);
    assert!(matches!(accepted, Err(handshake::Error::WrongSecret)), "{accepted:?}");
    assert!(matches!(dialled, Err(trust::Error::Handshake(handshake::Error::WrongSecret))));
}

#[tokio::test]
async fn files_that_have_changed_are_read_again_and_broken_ones_change_nothing() {
    let authority = Authority::new();
    let (folder, trust) = process(&authority, &["127.0.0.1"], &[]);
    let tls = trust.tls.unwrap();
    let look = || {
        let mut current = tls.0.current.lock().unwrap();
        current.look(&tls.0.settings);
        Arc::clone(&current.configs.client)
    };
    let before = look();
    authority.issue(folder.path(), &["127.0.0.1"]);
    // Of a certificate and its key only one is there yet.
    let path = folder.path().join("key.pem");
    let key = fs::read(&path).unwrap();
    fs::write(&path, "not yet").unwrap();
    assert!(Arc::ptr_eq(&before, &look()));
    fs::write(&path, key).unwrap();
    let after = look();
    assert!(!Arc::ptr_eq(&before, &after));
    assert!(Arc::ptr_eq(&after, &look()));
    assert!(Arc::ptr_eq(&after, &tls.configs().client));
}

#[test]
fn options_make_tls_or_say_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.issue(folder.path(), &["127.0.0.1"]);
    let why = |more: &[(&str, &str)]| {
        let made = Tls::from_options(&options(folder.path(), more));
        made.map(drop).map_err(|error| chain(&error)).err().unwrap_or_default()
    };
    assert_eq!(why(&[]), "");
    assert!(Tls::from_options(&Options::default()).unwrap().is_none());
    assert!(why(&[("security.ssl.ca", "")]).contains("set `security.ssl.ca`"));
    assert!(why(&[("security.ssl.key", "")]).contains("set `security.ssl.key`"));
    assert!(why(&[("security.ssl.certificate", "")]).contains("set `security.ssl.certificate`"));
    assert!(why(&[("security.ssl.ca", "/nowhere")]).contains("cannot read `/nowhere`"));
    let key = folder.path().join("key.pem").display().to_string();
    assert!(why(&[("security.ssl.certificate", &key)]).contains("no certificate in PEM"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(why(&[]).contains("chmod 600"));
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(why(&[]).contains("cannot be used with the key"), "{}", why(&[]));
}
