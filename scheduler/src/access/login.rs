//! From what a call brings along to who has made it.

use std::{fmt, net::IpAddr, sync::Arc};

use tokio::sync::watch;

use super::{Role, TokenDigest, Tokens};
use crate::clock::Timestamp;

/// Who must say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Login {
    /// Nobody: whoever reaches the port may do everything.
    Nobody,
    /// All but callers on the same host.
    #[default]
    Others,
    /// Everybody.
    Everybody,
}

/// How callers are told apart.
#[derive(Debug, Clone)]
pub struct Access {
    /// Who must log in.
    pub login: Login,
    /// The tokens that there are.
    pub tokens: watch::Receiver<Arc<Tokens>>,
}

/// Somebody who may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub who: Who,
    /// What that one may do.
    pub role: Role,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// The bearer of a token, by the token's name.
    Token(String),
    /// Somebody who knows the cluster's secret.
    Cluster,
    /// Somebody on this host, where that is enough.
    Loopback,
    /// Anybody, where nobody is asked.
    Anybody,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Token(name) => write!(f, "token {name}"),
            Who::Cluster => f.write_str("cluster secret"),
            Who::Loopback => f.write_str("loopback"),
            Who::Anybody => f.write_str("anybody"),
        }
    }
}

/// What a call brings along.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// Where it comes from.
    pub address: IpAddr,
    /// Whether its connection has proven to know the cluster's secret.
    pub of_cluster: bool,
    /// Its `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// Its `Origin`: the site whose page a browser shows.
    pub origin: Option<&'a [u8]>,
}

/// Why somebody does not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing was brought along.
    #[error("a token is needed here: send `Authorization: Bearer <token>`; `thalweg token create` makes one")]
    NoToken,
    /// It is something else.
    #[error("the `Authorization` is not understood: expected `Bearer <token>`")]
    OtherScheme,
    /// There is no such token.
    #[error("the token is not known, or was revoked")]
    UnknownToken,
    /// It has ended.
    #[error("the token has expired")]
    ExpiredToken,
    /// A page of another site makes a browser on this host call.
    #[error("a page of another site may not call the JobManager without a token")]
    OtherSite,
}

impl Refused {
    /// A stable word for machines.
    pub fn code(self) -> &'static str {
        match self {
            Refused::NoToken => "no-token",
            Refused::OtherScheme => "other-scheme",
            Refused::UnknownToken => "unknown-token",
            Refused::ExpiredToken => "expired-token",
            Refused::OtherSite => "other-site",
        }
    }
}

impl Access {
    /// Who has made a call. A token that is brought along must be good, also where none is needed.
    pub fn identify(&self, call: Credentials<'_>, now: Timestamp) -> Result<Caller, Refused> {
        let all = |who| Ok(Caller { who, role: Role::Admin });
        if call.of_cluster {
            return all(Who::Cluster);
        }
        if let Some(authorization) = call.authorization {
            return self.bearer(authorization, now);
        }
        let is_here = call.address.to_canonical().is_loopback();
        match self.login {
            Login::Nobody => all(Who::Anybody),
            Login::Others if is_here && call.origin.is_some_and(|origin| !is_of_this_host(origin)) => {
                Err(Refused::OtherSite)
            }
            Login::Others if is_here => all(Who::Loopback),
            Login::Others | Login::Everybody => Err(Refused::NoToken),
        }
    }

    fn bearer(&self, authorization: &[u8], now: Timestamp) -> Result<Caller, Refused> {
        let text = std::str::from_utf8(authorization).map_err(|_| Refused::OtherScheme)?;
        let (scheme, token) = text.split_once(' ').ok_or(Refused::OtherScheme)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refused::OtherScheme);
        }
        let tokens = self.tokens.borrow().clone();
        let token = TokenDigest::of(token.trim()).find(&tokens).ok_or(Refused::UnknownToken)?;
        if token.has_expired(now) {
            return Err(Refused::ExpiredToken);
        }
        Ok(Caller { who: Who::Token(token.name.clone()), role: token.role })
    }
}

/// Whether a browser shows a page of this host itself: the only ones that may use what needs no login.
fn is_of_this_host(origin: &[u8]) -> bool {
    let Some(uri) = std::str::from_utf8(origin).ok().and_then(|text| text.parse::<http::Uri>().ok()) else {
        return false;
    };
    let host = uri.host().unwrap_or_default();
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{TokenRecord, token};

    fn access(login: Login, expires: Option<Timestamp>) -> (Access, String) {
        let text = token::make().unwrap();
        let (name, digest) = ("ci".to_owned(), TokenDigest::of(&text));
        let (role, created, by) = (Role::Submit, Timestamp(0), String::new());
        let record = TokenRecord { name: name.clone(), digest, role, created, expires, by };
        let (_, tokens) = watch::channel(Arc::new([(name, record)].into()));
        (Access { login, tokens }, format!("Bearer {text}"))
    }

    fn call<'a>(address: &str, authorization: Option<&'a str>) -> Credentials<'a> {
        let authorization = authorization.map(str::as_bytes);
        Credentials { address: address.parse().unwrap(), of_cluster: false, authorization, origin: None }
    }

    #[test]
    fn a_token_says_who_calls_until_it_ends() {
        let (access, bearer) = access(Login::Others, Some(Timestamp(10)));
        let caller = access.identify(call("10.0.0.1", Some(&bearer)), Timestamp(9)).unwrap();
        assert_eq!((caller.who.to_string().as_str(), caller.role), ("token ci", Role::Submit));
        let lower = bearer.replace("Bearer", "bearer");
        assert!(access.identify(call("10.0.0.1", Some(&lower)), Timestamp(9)).is_ok());
        for (authorization, now, refused) in [
            (bearer.as_str(), 10, Refused::ExpiredToken),
            ("Bearer thalweg_00", 9, Refused::UnknownToken),
            ("Bearer ", 9, Refused::UnknownToken),
            ("Bearer", 9, Refused::OtherScheme),
            ("Basic YTpi", 9, Refused::OtherScheme),
        ] {
            // A wrong token is refused where none is needed, too: whoever sends one means it.
            for address in ["10.0.0.1", "127.0.0.1"] {
                let identified = access.identify(call(address, Some(authorization)), Timestamp(now));
                assert_eq!(identified, Err(refused), "{authorization}");
            }
        }
    }

    #[test]
    fn without_a_token_the_host_counts_and_the_site_of_a_page() {
        let now = Timestamp(1);
        let (others, _) = access(Login::Others, None);
        for here in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(others.identify(call(here, None), now).unwrap().who, Who::Loopback);
        }
        assert_eq!(others.identify(call("10.0.0.1", None), now), Err(Refused::NoToken));
        for (origin, is_let_in) in [
            ("http://localhost:8081", true),
            ("http://127.0.0.1:3000", true),
            ("http://[::1]:3000", true),
            ("http://evil.example:8081", false),
            ("http://localhost.evil.example", false),
            ("null", false),
        ] {
            let from_page = Credentials { origin: Some(origin.as_bytes()), ..call("127.0.0.1", None) };
            assert_eq!(others.identify(from_page, now).is_ok(), is_let_in, "{origin}");
        }
        let (everybody, _) = access(Login::Everybody, None);
        assert_eq!(everybody.identify(call("127.0.0.1", None), now), Err(Refused::NoToken));
        let of_cluster = Credentials { of_cluster: true, ..call("10.0.0.1", None) };
        assert_eq!(everybody.identify(of_cluster, now).unwrap().who, Who::Cluster);
        let (nobody, _) = access(Login::Nobody, None);
        assert_eq!(nobody.identify(call("10.0.0.1", None), now).unwrap().who, Who::Anybody);
    }
}
