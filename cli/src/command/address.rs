//! Where the JobManagers are: `-m host:port`, several separated by commas; else the members of the quorum; else `rest.address` and
//! `rest.port`. `https://` before an address turns TLS on.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use thalweg_graph::{Options, options};
use thalweg_rpc::Trust;
use thalweg_scheduler::MemberAddress;

use super::warn;
use crate::config::{self, ConfigArgs};

/// Which cluster a command is about.
#[derive(Debug, clap::Args)]
pub struct ClusterArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// The JobManager, or those of a quorum, separated by commas [default: high-availability.raft.members, or rest.address and rest.port]
    #[arg(short = 'm', long, value_name = "HOST:PORT,...")]
    jobmanager: Option<String>,

    #[command(flatten)]
    token: TokenArgs,
}

/// By what a command comes in.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// The token to come in by; better in the variable or in a file, since others on the host see arguments [default: rest.token-file]
    #[arg(long, value_name = "TOKEN", env = "THALWEG_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl TokenArgs {
    /// Puts it where all look for it.
    pub fn put(&self, options: &mut Options) {
        if let Some(token) = self.token.as_ref().filter(|token| !token.is_empty()) {
            options.0.insert(options::REST_TOKEN.name.to_owned(), token.clone());
        }
    }
}

impl ClusterArgs {
    /// The configuration, with its warnings printed, and the JobManagers' `host:port`, separated by commas.
    pub fn load(&self) -> Result<(Options, String)> {
        let mut config = config::load(&self.config)?;
        warn(&config.warnings);
        self.token.put(&mut config.options);
        if let Some(addresses) = &self.jobmanager {
            take_scheme(addresses, &mut config.options)?;
        }
        let address = jobmanager(self.jobmanager.as_deref(), &config.options)?;
        Ok((config.options, address))
    }
}

/// The JobManagers' `host:port`, separated by commas, as given or else as configured.
pub fn jobmanager(given: Option<&str>, configured: &Options) -> Result<String> {
    if let Some(addresses) = given {
        let addresses: Result<Vec<_>> = addresses.split(',').map(|address| parse(address.trim())).collect();
        return Ok(addresses?.join(","));
    }
    let members = members(configured)?;
    if !members.is_empty() {
        return Ok(members.into_iter().map(|member| member.address).collect::<Vec<_>>().join(","));
    }
    Ok(format!("{}:{}", configured.get(&options::REST_ADDRESS)?, configured.get(&options::REST_PORT)?))
}

/// Each of several addresses.
pub fn each(addresses: &str) -> Vec<String> {
    addresses.split(',').map(str::to_owned).collect()
}

/// Makes sure that an address is bound only where that is meant: others than this host reach it only if they can be told apart.
pub fn may_bind(option: &str, ip: IpAddr, trust: &Trust, insecure: bool) -> Result<()> {
    if ip.is_loopback() || insecure || trust.secret.is_some() {
        return Ok(());
    }
    bail!(
        "`{option}` is `{ip}`, which others can reach, and the cluster has no secret: set `{}`, \
         use a loopback address, or `--insecure` on a network on which everybody may do everything",
        options::CLUSTER_SECRET_FILE.name
    )
}

/// Says so where others can listen.
pub fn warn_in_the_clear(option: &str, ip: IpAddr, trust: &Trust) {
    if !ip.is_loopback() && trust.tls.is_none() {
        tracing::warn!(
            "`{option}` is `{ip}`, and `{}` is off: tokens, statements and rows cross the network in the clear",
            options::SSL_ENABLED.name
        );
    }
}

/// The members of the quorum, as configured.
pub fn members(configured: &Options) -> Result<Vec<MemberAddress>> {
    let text = configured.get(&options::HA_MEMBERS)?;
    let members = text.split([',', ';']).map(str::trim).filter(|member| !member.is_empty());
    let members = members.map(str::parse).collect::<Result<Vec<MemberAddress>, _>>();
    members.with_context(|| format!("option `{}`", options::HA_MEMBERS.name))
}

/// Turns TLS on if an address says so. It is the same for all of a cluster's ports.
pub fn take_scheme(addresses: &str, options: &mut Options) -> Result<()> {
    let has = |scheme| addresses.split(',').any(|address| address.trim().starts_with(scheme));
    let by_tls = options.get(&options::SSL_ENABLED)?;
    if has("http://") && (by_tls || has("https://")) {
        bail!(
            "`{addresses}`: the ports of a cluster speak either HTTP or HTTPS; `{}` is {by_tls}",
            options::SSL_ENABLED.name
        );
    }
    if has("https://") {
        options.0.insert(options::SSL_ENABLED.name.to_owned(), true.to_string());
    }
    Ok(())
}

/// Takes `host:port`, `host` and `http://host:port/`.
fn parse(address: &str) -> Result<String> {
    let without_scheme = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    let address = without_scheme.unwrap_or(address).trim_end_matches('/');
    let is_ipv6 = address.starts_with('[');
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !is_ipv6 || host.ends_with(']') => (host, port),
        _ => (address, options::REST_PORT.default),
    };
    if host.is_empty() || port.parse::<u16>().is_err() {
        bail!("`{address}` is not an address: expected `host:port`");
    }
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        assert_eq!(parse("node:9000").unwrap(), "node:9000");
        assert_eq!(parse("http://node:9000/").unwrap(), "node:9000");
        assert_eq!(parse("node").unwrap(), "node:8081");
        assert_eq!(parse("[::1]:9000").unwrap(), "[::1]:9000");
        assert_eq!(parse("[::1]").unwrap(), "[::1]:8081");
        assert_eq!(parse("https://node").unwrap(), "node:8081");
        assert!(parse("node:http").is_err() && parse(":1").is_err());
    }

    #[test]
    fn an_address_turns_tls_on_for_all() {
        let taken = |addresses: &str, enabled: &str| {
            let mut options = [("security.ssl.enabled", enabled)].into_iter().collect();
            take_scheme(addresses, &mut options).map(|()| options.get(&options::SSL_ENABLED).unwrap())
        };
        assert!(!taken("a:1, http://b:1", "false").unwrap());
        assert!(taken("https://a:1, b:1", "false").unwrap() && taken("a:1", "true").unwrap());
        assert!(taken("http://a:1", "true").is_err() && taken("http://a:1,https://b:1", "false").is_err());
    }

    #[test]
    fn the_configuration_holds_where_nothing_is_said() {
        let options = [("rest.address", "jm"), ("rest.port", "1")].into_iter().collect();
        assert_eq!(jobmanager(None, &options).unwrap(), "jm:1");
        let quorum = [("high-availability.raft.members", "1@a:1, 2@b:2")].into_iter().collect();
        assert_eq!(jobmanager(None, &quorum).unwrap(), "a:1,b:2");
        assert_eq!(jobmanager(Some("c, d:4"), &quorum).unwrap(), "c:8081,d:4");
        let wrong = [("high-availability.raft.members", "a:1")].into_iter().collect();
        let error = format!("{:#}", jobmanager(None, &wrong).unwrap_err());
        assert!(error.contains("high-availability.raft.members") && error.contains("`a:1`"), "{error}");
    }
}
