//! The connection to a Kafka cluster, and what its failures mean to a user.

use std::time::{Duration, Instant};

use krafka::{Kafka, KrafkaError, admin::AdminClient, error::ErrorCode};
use tokio::time::sleep;

use super::{options::KafkaOptions, properties::Properties};
use crate::error::{Error, Result};

/// Pause between two tries of a call that may succeed later.
pub const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// How long a question beside the way of the rows may take.
pub const QUESTION_TIMEOUT: Duration = Duration::from_secs(30);

/// A connected client.
#[derive(Debug, Clone)]
pub struct Client {
    /// The client.
    pub kafka: Kafka,
    /// The settings it was made with.
    pub properties: Properties,
    /// The bootstrap servers, as the table names them.
    pub servers: String,
}

impl Client {
    /// Connects; brokers that do not answer are tried again for as long as the table's settings say.
    pub async fn connect(options: &KafkaOptions) -> Result<Self> {
        Self::connect_to(&options.servers, &options.properties).await
    }

    /// The same for those who have no table.
    pub async fn connect_to(servers: &str, properties: &Properties) -> Result<Self> {
        let patience = properties.patience();
        let started = Instant::now();
        loop {
            let connecting = properties.connection(servers)?.connect();
            let error = match tokio::time::timeout(patience, connecting).await {
                Ok(Ok(kafka)) => {
                    return Ok(Self { kafka, properties: properties.clone(), servers: servers.to_owned() });
                }
                Ok(Err(error)) => error,
                Err(_) => KrafkaError::timeout("connect"),
            };
            if !error.is_retriable() {
                return Err(failed("connect to", servers, error));
            }
            if started.elapsed() + RETRY_PAUSE >= patience {
                let seconds = patience.as_secs();
                return Err(Error::NoBroker {
                    servers: servers.to_owned(),
                    seconds,
                    source: Box::new(error),
                });
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Asks for what is known of topics, groups and transactions. Its calls repeat themselves until their time is up.
    pub fn admin(&self) -> AdminClient {
        self.kafka.admin()
    }
}

/// The failure of a call.
pub fn failed(action: &'static str, subject: &str, error: KrafkaError) -> Error {
    let subject = subject.to_owned();
    let is_refused = match &error {
        KrafkaError::Auth { .. } => true,
        KrafkaError::Broker { code, .. } => matches!(
            code,
            ErrorCode::TopicAuthorizationFailed
                | ErrorCode::GroupAuthorizationFailed
                | ErrorCode::ClusterAuthorizationFailed
                | ErrorCode::TransactionalIdAuthorizationFailed
                | ErrorCode::SaslAuthenticationFailed
        ),
        KrafkaError::Config { .. } => {
            return Error::InvalidOption(format!("cannot {action} `{subject}`: {error}"));
        }
        _ => false,
    };
    match is_refused {
        true => Error::PermissionDenied {
            user: "the user of `properties.sasl.*`".to_owned(),
            action,
            path: subject,
            advice: "check the login, and what the cluster's ACLs allow",
            source: Box::new(error),
        },
        false => Error::Kafka { action, subject, source: Box::new(error) },
    }
}

/// Whether a call failed because its topic or partition is not there.
pub fn is_missing(error: &KrafkaError) -> bool {
    match error {
        KrafkaError::UnknownTopic { .. } => true,
        KrafkaError::Broker { code, .. } => *code == ErrorCode::UnknownTopicOrPartition,
        _ => false,
    }
}
