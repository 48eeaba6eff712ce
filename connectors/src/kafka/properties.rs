//! `properties.*`: Kafka's own settings of clients, by Kafka's names, handed to the client that we use.

use std::{collections::BTreeMap, time::Duration};

use krafka::{
    Compression, Kafka, KafkaBuilder,
    auth::{AuthConfig, TlsConfig},
    consumer::{AutoOffsetReset, ConsumerBuilder, IsolationLevel},
    producer::{Acks, ProducerBuilder},
};

use crate::{
    error::{Error, Result},
    options::{Known, Takes, known},
};

/// How long brokers are waited for where `properties.default.api.timeout.ms` does not say it.
const API_TIMEOUT_MS: u64 = 60_000;
/// How long a transaction may stay open where `properties.transaction.timeout.ms` does not say it: a job must be restored and its
/// checkpoint's transactions committed in this time. It is what brokers allow by default (`transaction.max.timeout.ms`).
const TRANSACTION_TIMEOUT_MS: u64 = 15 * 60_000;

const JVM: Takes = Takes::Refused("it belongs to Kafka's client for the JVM; remove it");
const GROUPS: Takes = Takes::Refused(
    "readers own their partitions and join no consumer group; `properties.group.id` names where offsets are committed",
);
const STORES: Takes = Takes::Refused(
    "Java key stores are not read; give PEM files by `properties.ssl.ca.location` and its like",
);

/// The settings that exist.
pub const KNOWN: &[Known] = &[
    known("properties.bootstrap.servers", Takes::Text),
    known("properties.client.id", Takes::Text),
    known("properties.client.rack", Takes::Text),
    known("properties.group.id", Takes::Text),
    known("properties.request.timeout.ms", Takes::Number),
    known("properties.default.api.timeout.ms", Takes::Number),
    known("properties.metadata.max.age.ms", Takes::Number),
    known("properties.connections.max.idle.ms", Takes::Number),
    // Security.
    known("properties.security.protocol", Takes::OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])),
    known("properties.sasl.mechanism", Takes::OneOf(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])),
    known("properties.sasl.jaas.config", Takes::Text),
    known("properties.sasl.username", Takes::Text),
    known("properties.sasl.password", Takes::Text),
    known("properties.ssl.ca.location", Takes::Text),
    known("properties.ssl.certificate.location", Takes::Text),
    known("properties.ssl.key.location", Takes::Text),
    known(
        "properties.ssl.key.password",
        Takes::Refused("encrypted keys are not read; give one that only this user may read"),
    ),
    known("properties.ssl.truststore.location", STORES),
    known("properties.ssl.truststore.password", STORES),
    known("properties.ssl.keystore.location", STORES),
    known("properties.ssl.keystore.password", STORES),
    // Reading.
    known("properties.isolation.level", Takes::OneOf(&["read_committed", "read_uncommitted"])),
    known("properties.auto.offset.reset", Takes::OneOf(&["earliest", "latest", "none"])),
    known("properties.fetch.min.bytes", Takes::Number),
    known("properties.fetch.max.bytes", Takes::Number),
    known("properties.fetch.max.wait.ms", Takes::Number),
    known("properties.max.partition.fetch.bytes", Takes::Number),
    known("properties.max.poll.records", Takes::Number),
    known("properties.key.deserializer", JVM),
    known("properties.value.deserializer", JVM),
    known("properties.enable.auto.commit", GROUPS),
    known("properties.auto.commit.interval.ms", GROUPS),
    known("properties.session.timeout.ms", GROUPS),
    known("properties.heartbeat.interval.ms", GROUPS),
    known("properties.partition.assignment.strategy", GROUPS),
    // Writing.
    known("properties.acks", Takes::OneOf(&["all", "-1", "1", "0"])),
    known("properties.enable.idempotence", Takes::Bool),
    known("properties.batch.size", Takes::Number),
    known("properties.linger.ms", Takes::Number),
    known("properties.compression.type", Takes::OneOf(&["none", "gzip", "snappy", "lz4"])),
    known("properties.buffer.memory", Takes::Number),
    known("properties.max.request.size", Takes::Number),
    known("properties.max.block.ms", Takes::Number),
    known("properties.delivery.timeout.ms", Takes::Number),
    known("properties.retry.backoff.ms", Takes::Number),
    known("properties.transaction.timeout.ms", Takes::Number),
    known(
        "properties.transactional.id",
        Takes::Refused("transactional ids are made from `sink.transactional-id-prefix`"),
    ),
    known("properties.key.serializer", JVM),
    known("properties.value.serializer", JVM),
];

/// The settings of one table, without the prefix. Their values were checked before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Of a table's options.
    pub fn of(options: &BTreeMap<String, String>) -> Result<Self> {
        let own = |(name, value): (&String, &String)| {
            name.strip_prefix("properties.").map(|name| (name.to_owned(), value.clone()))
        };
        let properties = Self(options.iter().filter_map(own).collect());
        properties.security()?;
        Ok(properties)
    }

    /// The text of a setting.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name).and_then(|text| text.trim().parse().ok())
    }

    fn bytes(&self, name: &str) -> Option<usize> {
        self.number(name).and_then(|number| usize::try_from(number).ok())
    }

    fn size(&self, name: &str) -> Option<i32> {
        self.number(name).map(|number| i32::try_from(number).unwrap_or(i32::MAX))
    }

    fn duration(&self, name: &str) -> Option<Duration> {
        self.number(name).map(Duration::from_millis)
    }

    /// How long brokers that do not answer are waited for.
    pub fn patience(&self) -> Duration {
        self.duration("default.api.timeout.ms").unwrap_or(Duration::from_millis(API_TIMEOUT_MS))
    }

    /// How long a transaction may stay open.
    pub fn transaction_timeout(&self) -> Duration {
        self.duration("transaction.timeout.ms").unwrap_or(Duration::from_millis(TRANSACTION_TIMEOUT_MS))
    }

    /// Whether rows of open and aborted transactions are left out.
    pub fn reads_committed(&self) -> bool {
        !self.text("isolation.level").is_some_and(|level| level.eq_ignore_ascii_case("read_uncommitted"))
    }

    /// Where a partition is read from that does not have the wanted offset; `None` where that is an error.
    pub fn offset_reset(&self) -> Option<AutoOffsetReset> {
        match self.text("auto.offset.reset")?.to_ascii_lowercase().as_str() {
            "earliest" => Some(AutoOffsetReset::Earliest),
            "latest" => Some(AutoOffsetReset::Latest),
            _ => None,
        }
    }

    /// A connection to be made.
    pub fn connection(&self, servers: &str) -> Result<KafkaBuilder> {
        let mut builder = Kafka::builder(servers).client_id(self.text("client.id").unwrap_or("thalweg"));
        if let Some(security) = self.security()? {
            builder = builder.security(security);
        }
        if let Some(timeout) = self.duration("request.timeout.ms") {
            builder = builder.request_timeout(timeout).connect_timeout(timeout.min(Duration::from_secs(10)));
        }
        if let Some(age) = self.duration("metadata.max.age.ms") {
            builder = builder.metadata_max_age(age);
        }
        if let Some(idle) = self.duration("connections.max.idle.ms") {
            builder = builder.connections_max_idle(Some(idle));
        }
        Ok(builder)
    }

    fn security(&self) -> Result<Option<AuthConfig>> {
        let protocol = self.text("security.protocol").unwrap_or("PLAINTEXT").to_ascii_uppercase();
        let base = match protocol.as_str() {
            "SSL" => return Ok(Some(AuthConfig::ssl(self.tls()))),
            "SASL_SSL" | "SASL_PLAINTEXT" => self.sasl()?,
            _ => return Ok(None),
        };
        Ok(Some(match protocol.as_str() {
            "SASL_SSL" => base.with_tls(self.tls()),
            _ => base,
        }))
    }

    fn sasl(&self) -> Result<AuthConfig> {
        let jaas = self.text("sasl.jaas.config").unwrap_or_default();
        let given = |name: &str, in_jaas: &str| {
            let text = self.text(name).map(str::to_owned).or_else(|| quoted(jaas, in_jaas));
            text.ok_or_else(|| {
                Error::InvalidOption(format!(
                    "`properties.security.protocol` asks for a login: set `properties.sasl.jaas.config`, or \
                     `properties.{name}`"
                ))
            })
        };
        let (username, password) = (given("sasl.username", "username")?, given("sasl.password", "password")?);
        let mechanism = self.text("sasl.mechanism").unwrap_or("PLAIN").to_ascii_uppercase();
        Ok(match mechanism.as_str() {
            "SCRAM-SHA-256" => AuthConfig::sasl_scram_sha256(username, password),
            "SCRAM-SHA-512" => AuthConfig::sasl_scram_sha512(username, password),
            _ => AuthConfig::sasl_plain(username, password),
        })
    }

    fn tls(&self) -> TlsConfig {
        let mut tls = TlsConfig::new();
        if let Some(authorities) = self.text("ssl.ca.location") {
            tls = tls.with_ca_cert(authorities);
        }
        if let (Some(certificate), Some(key)) =
            (self.text("ssl.certificate.location"), self.text("ssl.key.location"))
        {
            tls = tls.with_client_cert(certificate, key);
        }
        tls
    }

    /// A consumer with these settings, which is told its partitions.
    pub fn consumer(&self, kafka: &Kafka, batch_rows: usize) -> ConsumerBuilder {
        let rows = self.size("max.poll.records").unwrap_or(i32::MAX).min(batch_rows.max(1) as i32);
        let isolation = match self.reads_committed() {
            true => IsolationLevel::ReadCommitted,
            false => IsolationLevel::ReadUncommitted,
        };
        let mut builder = kafka
            .consumer_without_group()
            .isolation_level(isolation)
            .auto_offset_reset(self.offset_reset().unwrap_or(AutoOffsetReset::None))
            .max_poll_records(rows)
            .max_buffered_records(rows.saturating_mul(2))
            .metrics_push(false);
        if let Some(rack) = self.text("client.rack") {
            builder = builder.client_rack(rack);
        }
        if let Some(bytes) = self.size("fetch.min.bytes") {
            builder = builder.fetch_min_bytes(bytes);
        }
        if let Some(bytes) = self.size("fetch.max.bytes") {
            builder = builder.fetch_max_bytes(bytes);
        }
        if let Some(bytes) = self.size("max.partition.fetch.bytes") {
            builder = builder.max_partition_fetch_bytes(bytes);
        }
        if let Some(wait) = self.duration("fetch.max.wait.ms") {
            builder = builder.fetch_max_wait(wait);
        }
        builder
    }

    /// A producer with these settings.
    pub fn producer(&self, kafka: &Kafka) -> ProducerBuilder {
        let mut builder = kafka.producer().metrics_push(false);
        if let Some(acks) = self.text("acks") {
            let acks = match acks {
                "0" => Acks::None,
                "1" => Acks::Leader,
                _ => Acks::All,
            };
            builder = builder.acks(acks).idempotent(acks == Acks::All);
        }
        if let Some(idempotent) = self.text("enable.idempotence") {
            builder = builder.idempotent(idempotent.eq_ignore_ascii_case("true"));
        }
        if let Some(bytes) = self.bytes("batch.size") {
            builder = builder.batch_size(bytes);
        }
        if let Some(linger) = self.duration("linger.ms") {
            builder = builder.linger(linger);
        }
        if let Some(compression) = self.text("compression.type") {
            builder = builder.compression(match compression.to_ascii_lowercase().as_str() {
                "gzip" => Compression::Gzip,
                "snappy" => Compression::Snappy,
                "lz4" => Compression::Lz4,
                _ => Compression::None,
            });
        }
        if let Some(bytes) = self.bytes("buffer.memory") {
            builder = builder.buffer_memory(bytes);
        }
        if let Some(bytes) = self.bytes("max.request.size") {
            builder = builder.max_request_size(bytes);
        }
        if let Some(time) = self.duration("max.block.ms") {
            builder = builder.max_block(time);
        }
        if let Some(time) = self.duration("delivery.timeout.ms") {
            builder = builder.delivery_timeout(time);
        }
        if let Some(time) = self.duration("retry.backoff.ms") {
            builder = builder.retry_backoff(time);
        }
        builder
    }
}

/// The value of `name="value"` in a JAAS configuration.
fn quoted(jaas: &str, name: &str) -> Option<String> {
    let (_, rest) = jaas.split_once(&format!("{name}="))?;
    let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    rest[1..].split(quote).next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(options: &[(&str, &str)]) -> Result<Properties> {
        Properties::of(&options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    #[test]
    fn a_login_is_read_from_jaas() {
        let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password='a b';";
        assert_eq!(quoted(jaas, "username").as_deref(), Some("alice"));
        assert_eq!(quoted(jaas, "password").as_deref(), Some("a b"));
        let protocol = ("properties.security.protocol", "SASL_PLAINTEXT");
        let security = properties(&[protocol, ("properties.sasl.jaas.config", jaas)]).unwrap().security();
        assert!(security.unwrap().unwrap().requires_sasl());
        let error = properties(&[protocol]).unwrap_err().to_string();
        assert!(error.contains("`properties.sasl.jaas.config`"), "{error}");
    }

    #[test]
    fn rows_of_open_transactions_are_not_read_unless_asked_for() {
        assert!(properties(&[]).unwrap().reads_committed());
        assert!(
            !properties(&[("properties.isolation.level", "read_uncommitted")]).unwrap().reads_committed()
        );
    }
}
