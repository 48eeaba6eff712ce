//! Bearer tokens. A token is 32 random bytes in hexadecimal digits, shown once; what is kept is its SHA-256. Such a token cannot be
//! guessed, so that a digest which is slow on purpose, as for passwords, would only make calls slow.

use std::{collections::BTreeMap, fmt};

use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Role;
use crate::clock::Timestamp;

/// Tokens at once.
pub const TOKENS_MAX: usize = 1_000;
/// Longest name of a token.
const NAME_LENGTH_MAX: usize = 64;
/// What a token begins with, by which one that lies around is recognised.
const PREFIX: &str = "thalweg_";
const SECRET_BYTES: usize = 32;
const DIGEST_BYTES: usize = 32;

/// All tokens, by name.
pub type Tokens = BTreeMap<String, TokenRecord>;

/// What is kept of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its name.
    pub name: String,
    /// By which it is recognised.
    pub digest: TokenDigest,
    /// What its bearer may do.
    pub role: Role,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends; `None` for never.
    pub expires: Option<Timestamp>,
    /// Who has made it.
    pub by: String,
}

impl TokenRecord {
    /// Whether it has ended.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// The SHA-256 of a token. In the log as hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenDigest([u8; DIGEST_BYTES]);

impl TokenDigest {
    /// That of a token.
    pub fn of(token: &str) -> Self {
        let mut bytes = [0; DIGEST_BYTES];
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }

    /// The token that has it. How far a digest agrees with others says nothing about a token that has one of those: they may be
    /// compared in any time.
    pub fn find(self, tokens: &Tokens) -> Option<&TokenRecord> {
        tokens.values().find(|token| token.digest == self)
    }
}

/// Digits enough to tell two apart; the whole is of no use to anybody.
impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenDigest({}..)", &hex(&self.0)[..8])
    }
}

impl Serialize for TokenDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for TokenDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.as_bytes();
        let byte = |at: usize| {
            let pair = digits.get(2 * at..2 * at + 2).and_then(|pair| std::str::from_utf8(pair).ok());
            pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())
        };
        let bytes: Option<Vec<u8>> = (0..DIGEST_BYTES).map(byte).collect();
        let bytes =
            bytes.filter(|_| digits.len() == 2 * DIGEST_BYTES).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| de::Error::custom("expected the digest of a token"))
    }
}

/// A new token; `None` where the system gives no random bytes.
pub fn make() -> Option<String> {
    let mut secret = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut secret).ok()?;
    Some(format!("{PREFIX}{}", hex(&secret)))
}

/// Whether a token may be called so: its name is in logs and paths.
pub fn is_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= NAME_LENGTH_MAX && name.chars().all(known)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_by_their_digests_which_survive_the_log() {
        let token = make().unwrap();
        assert_eq!(token.len(), PREFIX.len() + 64);
        assert_ne!(make().unwrap(), token);
        let digest = TokenDigest::of(&token);
        let text = serde_json::to_string(&digest).unwrap();
        assert!(!text.contains(&token[PREFIX.len()..]) && text.len() == 66);
        assert_eq!(serde_json::from_str::<TokenDigest>(&text).unwrap(), digest);
        for wrong in ["\"\"", "\"00\"", &text.replace(&text[1..3], "zz"), "\"é\""] {
            assert!(serde_json::from_str::<TokenDigest>(wrong).is_err(), "{wrong}");
        }
        let record = TokenRecord {
            name: "ci".to_owned(),
            digest: digest.clone(),
            role: Role::Read,
            created: Timestamp(0),
            expires: Some(Timestamp(5)),
            by: String::new(),
        };
        assert!(!record.has_expired(Timestamp(4)) && record.has_expired(Timestamp(5)));
        let tokens: Tokens = [("ci".to_owned(), record)].into();
        assert_eq!(digest.find(&tokens).unwrap().name, "ci");
        assert!(TokenDigest::of("thalweg_").find(&tokens).is_none());
    }

    #[test]
    fn names_are_plain() {
        assert!(is_name("ci-2.nightly_A"));
        for name in ["", "a b", "a/b", "a\nb", "ä", &"a".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
