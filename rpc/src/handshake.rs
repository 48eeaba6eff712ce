//! How two processes of a cluster prove to each other that they know its secret, at the opening of a connection: each side gives a random
//! number, and answers that of the other by a keyed digest of both. The secret stays where it is, and what was heard once is of no use in
//! another opening. Whoever dials proves itself first, and says nothing else before the other side has. Within TLS the digests are also of
//! what only both ends of that connection know ([`Binding`]): whoever stands between two connections cannot hand proofs on.
//!
//! ```text
//! dials                                   is dialled
//! OPENING, purpose, knows?, 32 random  ->
//!                                      <- CHALLENGE, 32 random   or REFUSED and why, or OPEN: neither has a secret
//! proof                                ->
//!                                      <- PROVEN, proof          or REFUSED and why
//! ```

use std::{io, time::Duration};

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use crate::secret::{ClusterSecret, PROOF_BYTES};

/// What an opening begins with. No method of HTTP does.
pub const OPENING: [u8; 8] = *b"THALWEG\x02";
/// What TLS begins with.
const BEGINS_TLS: u8 = 0x16;
/// Time for each side to prove itself.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

const NONCE_BYTES: usize = 32;
type Nonce = [u8; NONCE_BYTES];

const OPEN: u8 = 0;
const CHALLENGE: u8 = 1;
const PROVEN: u8 = 2;
const REFUSED: u8 = 3;

const WRONG_SECRET: u8 = 1;
const NO_SECRET_THERE: u8 = 2;
const NO_SECRET_HERE: u8 = 3;
const OTHER_PURPOSE: u8 = 4;
const NO_TLS_THERE: u8 = 5;
const NO_CERTIFICATE_THERE: u8 = 6;

/// What both ends of a TLS connection know and nobody else does; `None` in the clear.
pub type Binding = Option<[u8; 32]>;

/// What a connection is for: a proof for one is none for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Calls and sessions on the control port.
    Control = 1,
    /// Rows, on a data port.
    Data = 2,
}

/// Why two processes do not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// They know different secrets.
    #[error(
        "the cluster's secret here is another than there: give both processes the same `security.cluster.secret-file`"
    )]
    WrongSecret,
    /// Only the other side has one.
    #[error(
        "the other side asks for the cluster's secret and there is none here: set `security.cluster.secret-file`"
    )]
    NoSecretHere,
    /// Only this side has one.
    #[error(
        "this side asks for the cluster's secret and the other side has none: set `security.cluster.secret-file` there"
    )]
    NoSecretThere,
    /// Only the other side speaks TLS.
    #[error("the other side speaks TLS and this one does not: set `security.ssl.enabled`")]
    NoTlsHere,
    /// Only the other side has a certificate, and asks for this one's.
    #[error(
        "the other side asks the cluster's processes for certificates and there is none here: set `security.ssl.certificate`"
    )]
    NoCertificateHere,
    /// The other side has shown no certificate.
    #[error(
        "this side asks the cluster's processes for certificates and the other side has shown none: set \
         `security.ssl.certificate` there"
    )]
    NoCertificateThere,
    /// It is for something else, or of another version.
    #[error("the other side is not a process of a cluster of this version")]
    Strange,
    /// It says nothing.
    #[error("the other side did not prove itself within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Silent,
    /// The connection broke.
    #[error("the connection broke before the other side had proven itself")]
    Broken(#[from] io::Error),
}

impl Error {
    /// Whether it is about who may come in, and not about the connection.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Error::Silent | Error::Broken(_))
    }
}

/// Opens a connection that this side has dialled.
pub async fn dial<S>(
    stream: &mut S,
    purpose: Purpose,
    secret: Option<&ClusterSecret>,
    binding: Binding,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    in_time(HANDSHAKE_TIMEOUT, async {
        let ours = nonce()?;
        let mut opening = OPENING.to_vec();
        opening.extend([purpose as u8, u8::from(secret.is_some())]);
        opening.extend(ours);
        stream.write_all(&opening).await?;
        stream.flush().await?;
        let (secret, theirs) = match (stream.read_u8().await?, secret) {
            (OPEN, None) => return Ok(()),
            (CHALLENGE, Some(secret)) => (secret, read_nonce(stream).await?),
            (REFUSED, _) => return Err(refusal(stream.read_u8().await?)),
            _ => return Err(Error::Strange),
        };
        stream.write_all(&secret.proof(&said(DIALS, purpose, &ours, &theirs, &binding))).await?;
        stream.flush().await?;
        match stream.read_u8().await? {
            PROVEN => {}
            REFUSED => return Err(refusal(stream.read_u8().await?)),
            _ => return Err(Error::Strange),
        }
        let proof = read_nonce(stream).await?;
        let proven = secret.proves(&said(IS_DIALLED, purpose, &ours, &theirs, &binding), &proof);
        if proven { Ok(()) } else { Err(Error::WrongSecret) }
    })
    .await
}

/// Opens a connection that the other side has dialled.
pub async fn accept<S>(
    stream: &mut S,
    purpose: Purpose,
    secret: Option<&ClusterSecret>,
    binding: Binding,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    in_time(HANDSHAKE_TIMEOUT, async {
        let mut opening = [0; OPENING.len()];
        stream.read_exact(&mut opening).await?;
        match opening {
            OPENING => answer(stream, purpose, secret, binding).await,
            [BEGINS_TLS, ..] => Err(Error::NoTlsHere),
            _ => Err(Error::Strange),
        }
    })
    .await
}

/// The same where [`OPENING`] was read already.
pub async fn accept_opened<S>(
    stream: &mut S,
    purpose: Purpose,
    secret: Option<&ClusterSecret>,
    binding: Binding,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    in_time(HANDSHAKE_TIMEOUT, answer(stream, purpose, secret, binding)).await
}

/// Refuses who dials without TLS, where [`OPENING`] was read already.
pub async fn refuse_plain<S>(stream: &mut S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    refuse_opened(stream, NO_TLS_THERE).await
}

/// Refuses who dials without a certificate, where [`OPENING`] was read already.
pub async fn refuse_uncertified<S>(stream: &mut S) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    in_time(HANDSHAKE_TIMEOUT, async {
        refuse_opened(stream, NO_CERTIFICATE_THERE).await?;
        Err(Error::NoCertificateThere)
    })
    .await
}

async fn refuse_opened<S>(stream: &mut S, why: u8) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Closed before all was read, the connection might break before the other side has heard why.
    read_opening(stream).await?;
    tell(stream, &[REFUSED, why]).await?;
    stream.shutdown().await
}

/// What comes behind [`OPENING`]: what for, whether there is a secret, and the number.
async fn read_opening(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, bool, Nonce)> {
    Ok((stream.read_u8().await?, stream.read_u8().await? == 1, read_nonce(stream).await?))
}

async fn answer<S>(
    stream: &mut S,
    purpose: Purpose,
    secret: Option<&ClusterSecret>,
    binding: Binding,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (asked, knows, theirs) = read_opening(stream).await?;
    let for_this = asked == purpose as u8;
    if !for_this {
        return refuse(stream, OTHER_PURPOSE, Error::Strange).await;
    }
    let secret = match (secret, knows) {
        (None, false) => return Ok(tell(stream, &[OPEN]).await?),
        (None, true) => return refuse(stream, NO_SECRET_THERE, Error::NoSecretHere).await,
        (Some(_), false) => return refuse(stream, NO_SECRET_HERE, Error::NoSecretThere).await,
        (Some(secret), true) => secret,
    };
    let ours = nonce()?;
    tell(stream, &[&[CHALLENGE][..], &ours].concat()).await?;
    let proof = read_nonce(stream).await?;
    if !secret.proves(&said(DIALS, purpose, &theirs, &ours, &binding), &proof) {
        return refuse(stream, WRONG_SECRET, Error::WrongSecret).await;
    }
    let proof = secret.proof(&said(IS_DIALLED, purpose, &theirs, &ours, &binding));
    Ok(tell(stream, &[&[PROVEN][..], &proof].concat()).await?)
}

const DIALS: &[u8] = b"thalweg handshake: dials";
const IS_DIALLED: &[u8] = b"thalweg handshake: is dialled";

/// What a side proves: its part, what for, both numbers, and on which connection, so that no proof can be sent back or elsewhere.
fn said<'a>(
    part: &'a [u8],
    purpose: Purpose,
    dials: &'a Nonce,
    is_dialled: &'a Nonce,
    binding: &'a Binding,
) -> Vec<&'a [u8]> {
    let purpose: &[u8] = match purpose {
        Purpose::Control => b"control",
        Purpose::Data => b"data",
    };
    let mut said = vec![part, purpose, dials, is_dialled];
    said.extend(binding.as_ref().map(|binding| &binding[..]));
    said
}

async fn in_time(time: Duration, opening: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    timeout(time, opening).await.unwrap_or(Err(Error::Silent))
}

/// Says why it goes no further; the other side may be gone.
async fn refuse(stream: &mut (impl AsyncWrite + Unpin), why: u8, error: Error) -> Result<(), Error> {
    tell(stream, &[REFUSED, why]).await?;
    stream.shutdown().await?;
    Err(error)
}

fn refusal(why: u8) -> Error {
    match why {
        WRONG_SECRET => Error::WrongSecret,
        NO_SECRET_THERE => Error::NoSecretThere,
        NO_SECRET_HERE => Error::NoSecretHere,
        NO_TLS_THERE => Error::NoTlsHere,
        NO_CERTIFICATE_THERE => Error::NoCertificateHere,
        _ => Error::Strange,
    }
}

async fn tell(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

async fn read_nonce(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Nonce> {
    // A proof has the same length.
    const { assert!(NONCE_BYTES == PROOF_BYTES) };
    let mut nonce = [0; NONCE_BYTES];
    stream.read_exact(&mut nonce).await?;
    Ok(nonce)
}

fn nonce() -> io::Result<Nonce> {
    let mut nonce = [0; NONCE_BYTES];
    SystemRandom::new().fill(&mut nonce).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn secret(text: &str) -> Option<ClusterSecret> {
        Some(ClusterSecret::new(text).unwrap())
    }

    async fn meet(ours: Option<ClusterSecret>, theirs: Option<ClusterSecret>) -> [Result<(), Error>; 2] {
        let (mut left, mut right) = duplex(1024);
        let (dialled, accepted) = tokio::join!(
            dial(&mut left, Purpose::Data, ours.as_ref(), None),
            accept(&mut right, Purpose::Data, theirs.as_ref(), None)
        );
        [dialled, accepted]
    }

    #[tokio::test]
    async fn only_the_same_secret_opens_and_both_sides_say_why_not() {
        let a = || secret("0123456789abcdef");
        assert!(matches!(meet(a(), a()).await, [Ok(()), Ok(())]));
        assert!(matches!(meet(None, None).await, [Ok(()), Ok(())]));
        let other = secret("0123456789abcdeg");
        assert!(matches!(meet(a(), other).await, [Err(Error::WrongSecret), Err(Error::WrongSecret)]));
        assert!(matches!(meet(None, a()).await, [Err(Error::NoSecretHere), Err(Error::NoSecretThere)]));
        assert!(matches!(meet(a(), None).await, [Err(Error::NoSecretThere), Err(Error::NoSecretHere)]));
        let (mut left, mut right) = duplex(1024);
        let a = a();
        let (dialled, accepted) = tokio::join!(
            dial(&mut left, Purpose::Data, a.as_ref(), None),
            accept(&mut right, Purpose::Control, a.as_ref(), None)
        );
        assert!(matches!((dialled, accepted), (Err(Error::Strange), Err(Error::Strange))));
    }

    #[tokio::test]
    async fn proofs_are_of_one_connection() {
        let secret = secret("0123456789abcdef");
        let (mut left, mut right) = duplex(1024);
        let (dialled, accepted) = tokio::join!(
            dial(&mut left, Purpose::Control, secret.as_ref(), Some([1; 32])),
            accept(&mut right, Purpose::Control, secret.as_ref(), Some([2; 32]))
        );
        assert!(matches!((dialled, accepted), (Err(Error::WrongSecret), Err(Error::WrongSecret))));
    }

    #[tokio::test]
    async fn who_dials_without_tls_or_a_certificate_hears_why_it_is_refused() {
        let secret = secret("0123456789abcdef");
        let (mut left, mut right) = duplex(1024);
        let refusing = async {
            right.read_exact(&mut [0; OPENING.len()]).await.unwrap();
            refuse_plain(&mut right).await.unwrap();
        };
        let (dialled, ()) = tokio::join!(dial(&mut left, Purpose::Control, secret.as_ref(), None), refusing);
        assert!(matches!(dialled, Err(Error::NoTlsHere)));
        let (mut left, mut right) = duplex(1024);
        let refusing = async {
            right.read_exact(&mut [0; OPENING.len()]).await.unwrap();
            refuse_uncertified(&mut right).await
        };
        let (dialled, refused) =
            tokio::join!(dial(&mut left, Purpose::Control, secret.as_ref(), None), refusing);
        assert!(matches!(
            (dialled, refused),
            (Err(Error::NoCertificateHere), Err(Error::NoCertificateThere))
        ));
    }

    /// Carries bytes from one side to the other and notes them.
    async fn overhear(from: &mut DuplexStream, to: &mut DuplexStream, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        from.read_exact(&mut bytes).await.unwrap();
        to.write_all(&bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn what_was_overheard_opens_nothing() {
        let secret = secret("0123456789abcdef");
        let ((mut left, mut tap_left), (mut tap_right, mut right)) = (duplex(1024), duplex(1024));
        let listening = async {
            let opening = overhear(&mut tap_left, &mut tap_right, 42).await;
            overhear(&mut tap_right, &mut tap_left, 33).await;
            let proof = overhear(&mut tap_left, &mut tap_right, 32).await;
            overhear(&mut tap_right, &mut tap_left, 33).await;
            (opening, proof)
        };
        let (dialled, accepted, (opening, proof)) = tokio::join!(
            dial(&mut left, Purpose::Control, secret.as_ref(), None),
            accept(&mut right, Purpose::Control, secret.as_ref(), None),
            listening
        );
        assert!(dialled.is_ok() && accepted.is_ok());

        let (mut replays, mut right) = duplex(1024);
        let replaying = async {
            replays.write_all(&opening).await.unwrap();
            replays.read_exact(&mut [0; 33]).await.unwrap();
            replays.write_all(&proof).await.unwrap();
            let mut answer = Vec::new();
            replays.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let (accepted, answer) =
            tokio::join!(accept(&mut right, Purpose::Control, secret.as_ref(), None), replaying);
        assert!(matches!(accepted, Err(Error::WrongSecret)));
        assert_eq!(answer, [REFUSED, WRONG_SECRET]);

        // A proof that is sent back to whom it came from.
        let (mut left, mut mirrors) = duplex(1024);
        let mirroring = async {
            let mut opening = [0; 42];
            mirrors.read_exact(&mut opening).await.unwrap();
            mirrors.write_all(&[&[CHALLENGE][..], &opening[10..]].concat()).await.unwrap();
            let mut proof = [0; 32];
            mirrors.read_exact(&mut proof).await.unwrap();
            mirrors.write_all(&[&[PROVEN][..], &proof].concat()).await.unwrap();
        };
        let (dialled, ()) = tokio::join!(dial(&mut left, Purpose::Control, secret.as_ref(), None), mirroring);
        assert!(matches!(dialled, Err(Error::WrongSecret)));
    }

    #[tokio::test]
    async fn silence_garbage_and_an_early_end_are_errors() {
        let secret = secret("0123456789abcdef");
        let (mut left, _right) = duplex(1024);
        let silent =
            in_time(Duration::from_millis(10), answer(&mut left, Purpose::Data, secret.as_ref(), None));
        assert!(matches!(silent.await, Err(Error::Silent)));
        let (mut left, mut right) = duplex(1024);
        left.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert!(matches!(
            accept(&mut right, Purpose::Data, secret.as_ref(), None).await,
            Err(Error::Strange)
        ));
        let (mut left, mut right) = duplex(1024);
        left.write_all(&OPENING).await.unwrap();
        drop(left);
        assert!(matches!(
            accept(&mut right, Purpose::Data, secret.as_ref(), None).await,
            Err(Error::Broken(_))
        ));
    }
}
