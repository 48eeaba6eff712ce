//! Clusters whose ports speak TLS, with certificates asked of processes: jobs run, a leader is replaced, strangers are told what is wrong and
//! get nothing, and nobody who listens understands anything. Seen by curl and openssl, too, which are not ours.

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use thalweg::Client;
use thalweg_graph::Options;
use thalweg_integration::{
    certificates::{Authority, Files, Validity},
    processes::{Cluster, ClusterConfig, Node},
    quorum_drill::{self, Fault, QuorumDrill},
};
use thalweg_rpc::{LEADER_PATH, tls::TLS_TIMEOUT};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Command,
    time::timeout,
};

use crate::place::binary;

const SECRET: &str = "known to all processes of it";
/// Time for a process to do what it is expected to.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster whose processes have a secret and certificates, and ask each other for both.
struct Protected {
    authority: Authority,
    files: Files,
    options: Options,
    folder: TempDir,
}

impl Protected {
    fn new(more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new().unwrap();
        let files = authority.issue(&folder.path().join("cluster"), Validity::Now).unwrap();
        let asked = [("security.cluster.secret", SECRET), ("security.ssl.client-authentication", "cluster")];
        let asked: Options = asked.iter().chain(more).copied().collect();
        let options = files.options().overridden_by(&asked);
        Self { authority, files, options, folder }
    }

    fn config(&self, workers: usize) -> ClusterConfig {
        let mut config = ClusterConfig::new(binary(), workers, 2);
        config.options = self.options.clone();
        config
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Options of a process, in a file of their own.
fn config_file(folder: &Path, options: &Options) -> String {
    fs::create_dir_all(folder).unwrap();
    let path = folder.join("config.yaml");
    let text: String =
        options.0.iter().map(|(name, value)| format!("{name}: {}\n", serde_json::json!(value))).collect();
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

async fn run(program: &str, arguments: &[&str]) -> Output {
    let running = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    timeout(PATIENCE, running).await.expect("it ends").unwrap()
}

async fn thalweg(arguments: &[&str]) -> Output {
    let binary = binary();
    let prefix = binary.prefix.iter().map(String::as_str);
    let arguments: Vec<&str> = prefix.chain(arguments.iter().copied()).collect();
    run(&binary.path.display().to_string(), &arguments).await
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Waits until the JobManager's log has a line with this.
async fn logged(cluster: &Cluster, expected: &str) {
    let start = Instant::now();
    while !cluster.with_job_manager(Node::log_tail).contains(expected) {
        assert!(start.elapsed() < PATIENCE, "no line with `{expected}`:\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_under_another_leader_behind_tls() {
    let protected = Protected::new(&[]);
    let drill = QuorumDrill {
        rows: 1_500_000,
        jobs: 1,
        faults: 1,
        kinds: vec![Fault::KillLeader],
        seed: rand::random(),
    };
    eprintln!("seed {}", drill.seed);
    let mut config = protected.config(quorum_drill::WORKERS);
    config.slots = quorum_drill::SLOTS;
    quorum_drill::run(config, drill, |job| eprintln!("{job:?}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_manager_that_does_not_lead_sends_callers_to_the_leader_by_https() {
    let protected = Protected::new(&[]);
    let mut config = protected.config(1);
    config.members = 3;
    let cluster = Cluster::start(config).await.unwrap();
    let leader = cluster.leader(&[]).await.unwrap();
    let asked = format!("https://{}/v1/overview", cluster.member_address((leader + 1) % 3));
    let ca = protected.files.ca.display().to_string();
    let sent = text(&run("curl", &["-sS", "-i", "--cacert", &ca, &asked]).await).to_lowercase();
    let location = format!("location: https://{}/", cluster.member_address(leader));
    assert!(sent.contains("307") && sent.contains(&location), "{sent}");
    let answer = text(&run("curl", &["-sS", "-L", "--cacert", &ca, &asked]).await);
    assert!(answer.contains(r#""taskmanagers":1"#), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_need_the_authority_and_a_token_and_may_be_older_than_tls_1_3() {
    let protected = Protected::new(&[("security.rest.loopback-login", "true")]);
    let cluster = Cluster::start(protected.config(2)).await.unwrap();
    let (url, ca) = (cluster.url("/v1/overview"), protected.files.ca.display().to_string());
    let config = config_file(protected.folder(), &protected.options);

    let unknown = run("curl", &["-sS", &url]).await;
    assert_eq!(unknown.status.code(), Some(60), "{}", text(&unknown));
    let plain = run("curl", &["-sS", &url.replace("https", "http")]).await;
    assert!(text(&plain).contains("this port speaks HTTPS"), "{}", text(&plain));
    let nobody = run("curl", &["-sS", "--cacert", &ca, &url]).await;
    assert!(text(&nobody).contains("no-token"), "{}", text(&nobody));

    let address = format!("https://{}", cluster.address);
    let made = thalweg(&["token", "create", "--role", "submit", "-m", &address, "--config", &config]).await;
    assert!(made.status.success(), "{}", text(&made));
    let token = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    let bearer = format!("authorization: Bearer {token}");
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"], &["--http2"]] {
        let arguments = [version, &["-sS", "--cacert", &ca, "-H", &bearer, &url]].concat();
        let answer = run("curl", &arguments).await;
        assert!(text(&answer).contains(r#""taskmanagers":2"#), "{version:?}: {}", text(&answer));
    }

    // A client without a certificate, by its address alone and the authority's.
    let ca = format!("security.ssl.ca={ca}");
    let sql = "SELECT SUM(v) + 1000 FROM (VALUES (1), (2), (3)) AS t (v)";
    // The secret is another user's.
    let no_secret = "security.cluster.secret-file=/of/another/user";
    let client = ["sql", "-m", &address, "-D", &ca, "-D", no_secret, "--token", &token, "-e", sql];
    let answer = thalweg(&client).await;
    assert!(answer.status.success() && text(&answer).contains("1006"), "{}", text(&answer));
    // Nobody calls a process that does all by itself.
    let alone = thalweg(&["sql", "-D", "security.ssl.enabled=true", "-D", &ca, "-e", sql]).await;
    assert!(alone.status.success() && text(&alone).contains("1006"), "{}", text(&alone));
    // What knows the secret without a certificate is no process of the cluster.
    let secret = format!("security.cluster.secret={SECRET}");
    let refused = thalweg(&["token", "list", "-m", &address, "-D", &ca, "-D", &secret]).await;
    assert!(text(&refused).contains("set `security.ssl.certificate`"), "{}", text(&refused));
    logged(&cluster, "the other side has shown none").await;
    let plain = thalweg(&["sql", "-m", &cluster.address, "--token", &token, "-e", "SHOW JOBS"]).await;
    assert!(text(&plain).contains("this port speaks HTTPS"), "{}", text(&plain));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_without_a_good_certificate_are_refused_and_both_sides_say_why() {
    let protected = Protected::new(&[]);
    let cluster = Cluster::start(protected.config(1)).await.unwrap();
    let issue = |authority: &Authority, name: &str, validity| {
        authority.issue(&protected.folder().join(name), validity).unwrap()
    };
    let other = issue(&Authority::new().unwrap(), "other", Validity::Now);
    let expired = issue(&protected.authority, "expired", Validity::Expired);
    // Those of another authority believe ours.
    let other = Files { ca: protected.files.ca.clone(), ..other };
    let none: Options = [("security.ssl.certificate", ""), ("security.ssl.key", "")].into_iter().collect();
    let off: Options = [("security.ssl.enabled", "false")].into_iter().collect();
    for (name, options, here, there) in [
        ("none", none, "set `security.ssl.certificate` to a PEM file", None),
        ("off", off, "the other side speaks TLS", Some("does not speak TLS")),
        (
            "other",
            other.options(),
            "is of no authority in the file of `security.ssl.ca` there",
            Some("`security.ssl.ca` here"),
        ),
        (
            "expired",
            expired.options(),
            "the certificate of this process has expired",
            Some("its certificate has expired"),
        ),
    ] {
        let config = config_file(
            &protected.folder().join(format!("{name}-worker")),
            &protected.options.overridden_by(&options),
        );
        let binary = binary();
        let mut worker = Command::new(&binary.path);
        worker.args(&binary.prefix).args(["worker", "-m", &cluster.address, "--config", &config]);
        let mut worker =
            worker.stderr(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let mut said = String::new();
        let mut stderr = worker.stderr.take().unwrap();
        let reading = async {
            while !said.contains(here) {
                let mut bytes = vec![0; 4096];
                let read = stderr.read(&mut bytes).await.unwrap();
                if read == 0 {
                    break;
                }
                said.push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        };
        let _ = timeout(PATIENCE, reading).await;
        assert!(said.contains(here), "{name}: {said}");
        if let Some(there) = there {
            logged(&cluster, there).await;
        }
        worker.kill().await.unwrap();
    }
    cluster.wait_for_workers(1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_secret_a_certificate_is_what_internal_calls_need() {
    let protected = Protected::new(&[("security.cluster.secret", "")]);
    let cluster = Cluster::start(protected.config(1)).await.unwrap();
    let Files { ca, certificate, key } = &protected.files;
    let [ca, certificate, key] = [ca, certificate, key].map(|path| path.display().to_string());
    let call =
        |path: &str| ["-sS", "--cacert", &ca].map(str::to_owned).into_iter().chain([cluster.url(path)]);
    let curl = async |arguments: Vec<String>| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        text(&run("curl", &arguments).await)
    };
    let shown = ["--cert", &certificate, "--key", &key].map(str::to_owned);
    let rest = curl(call("/v1/overview").collect()).await;
    assert!(rest.contains(r#""taskmanagers":1"#), "{rest}");
    let refused = curl(call(LEADER_PATH).collect()).await;
    assert!(refused.contains("cluster-certificate"), "{refused}");
    let heard = curl(call(LEADER_PATH).chain(shown.clone()).collect()).await;
    assert!(!heard.contains("cluster-certificate") && heard.contains("quorum"), "{heard}");

    // Where certificates are asked of all, callers of REST need one, too.
    let all = Protected::new(&[("security.ssl.client-authentication", "all")]);
    let cluster = Cluster::start(all.config(1)).await.unwrap();
    let ca = all.files.ca.display().to_string();
    let refused = run("curl", &["-sS", "--cacert", &ca, &cluster.url("/v1/overview")]).await;
    assert!(
        !refused.status.success() && text(&refused).contains("certificate required"),
        "{}",
        text(&refused)
    );
    let mut client = Client::remote(&cluster.address, cluster.client_options()).await.unwrap();
    assert_eq!(client.sql("SELECT 1").await.unwrap()[0].num_rows(), 1);
}

/// Stands between a client and a JobManager and notes what it carries.
async fn wiretap(to: String) -> (String, Arc<Mutex<Vec<u8>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let notes = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&to).await.unwrap();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(carry(from_client, to_server, Arc::clone(&notes)));
            tokio::spawn(carry(from_server, to_client, Arc::clone(&notes)));
        }
    });
    (address, heard)
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    notes: Arc<Mutex<Vec<u8>>>,
) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        notes.lock().unwrap().extend_from_slice(&bytes[..read]);
        if to.write_all(&bytes[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_hears_neither_statements_nor_rows() {
    for by_tls in [true, false] {
        let protected = Protected::new(&[("security.ssl.enabled", if by_tls { "true" } else { "false" })]);
        let cluster = Cluster::start(protected.config(1)).await.unwrap();
        let (address, heard) = wiretap(cluster.address.clone()).await;
        let config = config_file(protected.folder(), &protected.options);
        let sql = "SELECT CONCAT('row ', v) FROM (VALUES ('visible')) AS spoken_name (v)";
        let answer = thalweg(&["sql", "-m", &address, "--config", &config, "-e", sql]).await;
        assert!(text(&answer).contains("row visible"), "{}", text(&answer));
        let heard = heard.lock().unwrap().clone();
        assert!(heard.len() > 1000, "{} bytes went by", heard.len());
        for words in ["spoken_name", "row visible", "HTTP/1.1"] {
            let is_heard = heard.windows(words.len()).any(|window| window == words.as_bytes());
            // In the clear it is all there: the wire is tapped.
            assert_eq!(is_heard, !by_tls, "`{words}`, TLS: {by_tls}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_opens_no_tls_holds_nobody_up_and_data_ports_are_held_to_the_same() {
    let protected = Protected::new(&[]);
    let cluster = Cluster::start(protected.config(1)).await.unwrap();
    let workers = cluster.get("/v1/taskmanagers").await.unwrap();
    let data_port = workers["taskmanagers"][0]["dataPort"].as_u64().unwrap();
    let data_address = format!("127.0.0.1:{data_port}");
    let mut silent = Vec::new();
    for address in [&cluster.address, &data_address] {
        for _ in 0..100 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
    }
    // Half a greeting is no better.
    for stream in silent.iter_mut().step_by(2) {
        stream.write_all(b"\x16\x03\x01").await.unwrap();
    }
    let start = Instant::now();
    cluster.get("/v1/overview").await.unwrap();
    assert!(start.elapsed() < TLS_TIMEOUT / 2, "{:?}", start.elapsed());
    for (number, mut stream) in silent.into_iter().enumerate() {
        let read = timeout(TLS_TIMEOUT * 2, stream.read_to_end(&mut Vec::new())).await;
        assert!(read.is_ok(), "connection {number} is still open");
    }
    assert!(start.elapsed() >= TLS_TIMEOUT / 2, "they were closed at once: {:?}", start.elapsed());

    let ca = protected.files.ca.display().to_string();
    let verify = ["s_client", "-brief", "-verify_return_error", "-CAfile", &ca, "-connect"];
    let of_control = run("openssl", &[&verify[..], &[&cluster.address]].concat()).await;
    assert!(text(&of_control).contains("Verification: OK"), "{}", text(&of_control));
    // Of TLS 1.3 a caller hears behind the handshake that its certificate is refused: if it waits for what is said.
    let without = run("openssl", &[&verify[..], &[&data_address, "-ign_eof"]].concat()).await;
    assert!(text(&without).contains("certificate required"), "{}", text(&without));
    let Files { certificate, key, .. } = &protected.files;
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let shown = [&verify[..], &[&data_address, "-ign_eof", "-cert", &certificate, "-key", &key]].concat();
    let with = run("openssl", &shown).await;
    assert!(text(&with).contains("TLSv1.3") && !text(&with).contains("alert"), "{}", text(&with));
    let old = run("openssl", &[&shown[..], &["-tls1_2"]].concat()).await;
    assert!(!old.status.success() && text(&old).contains("protocol version"), "{}", text(&old));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_certificates_are_shown_without_a_restart() {
    let protected = Protected::new(&[]);
    let cluster = Cluster::start(protected.config(1)).await.unwrap();
    let shown = async || {
        let client = run("openssl", &["s_client", "-showcerts", "-connect", &cluster.address]).await;
        let text = text(&client);
        let certificate = text.split("-----").nth(2).map(str::trim).unwrap_or_default();
        fs::read_to_string(&protected.files.certificate).unwrap().contains(certificate)
            && !certificate.is_empty()
    };
    assert!(shown().await);
    protected.authority.issue(&protected.folder().join("cluster"), Validity::Now).unwrap();
    let start = Instant::now();
    while !shown().await {
        assert!(start.elapsed() < PATIENCE, "the old one is still shown\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // The worker of before and a new one.
    cluster.add_worker("127.0.0.1").unwrap();
    cluster.wait_for_workers(2).await.unwrap();
}
