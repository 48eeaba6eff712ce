//! Ending transactions from another process than the one that began them: by transactional id, producer id and epoch.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use krafka::{
    __private::{
        kafka_metadata, kafka_pool,
        network::BrokerConnection,
        protocol::{ApiKey, EndTxnRequest, EndTxnResponse, FindCoordinatorRequest, FindCoordinatorResponse},
    },
    Kafka, KrafkaError,
    admin::{DescribeTransactionsOptions, TransactionDescription},
    consumer::{AutoOffsetReset, IsolationLevel},
    error::ErrorCode,
};
use thalweg_graph::{
    Attempt, JobId,
    table::{Committable, SinkDescriptor},
};
use tokio::time::sleep;

use super::{
    super::{
        client::{Client, QUESTION_TIMEOUT, RETRY_PAUSE, failed},
        options::{Guarantee, KafkaOptions},
    },
    committable::{Transaction, Witness},
    ids,
    transactions::{OPEN_STATES, list, take_over},
};
use crate::{
    error::{Error, Result},
    writer::CommitOutcome,
};

/// Pause between two looks at a transaction that is being ended: that takes milliseconds.
const ENDING_PAUSE: Duration = Duration::from_millis(10);
/// Versions of requests: the first that write texts compactly; of EndTxn also that of the second transaction protocol.
const FIND_COORDINATOR: i16 = 3;
const END_V1: i16 = 3;
const END_V2: i16 = 5;

/// Makes the rows of transactions visible. One that was committed before counts as committed now.
pub async fn commit(sink: &SinkDescriptor, committables: &[Committable]) -> Result<CommitOutcome> {
    let mut outcome = CommitOutcome::default();
    if committables.is_empty() {
        return Ok(outcome);
    }
    let options = KafkaOptions::of(&sink.table)?;
    let client = Client::connect(&options).await?;
    let patience = client.properties.patience();
    let (mut forgotten, mut committed) = (Vec::new(), Vec::new());
    for committable in committables {
        let transaction = Transaction::decode(committable)?;
        outcome.rows += transaction.rows;
        outcome.bytes += transaction.bytes;
        committed.extend(ids::owner(&options.transactional_id_prefix, &transaction.id));
        if let Known::No = commit_known(&client, &transaction, patience).await? {
            forgotten.push(transaction);
        }
    }
    // Behind the others: no row can be looked for behind a transaction that is open, as they were.
    for transaction in forgotten {
        look_for_witness(&client, &transaction, patience).await?;
    }
    abort_superseded(&client, &options.transactional_id_prefix, &committed).await;
    Ok(outcome)
}

/// Whether Kafka still knows how a transaction has ended.
enum Known {
    /// Its rows are visible, or will be.
    Yes,
    /// Its id has moved on.
    No,
}

/// Aborts what the job's attempts have left open.
pub async fn abort(_job: JobId, sink: &SinkDescriptor) -> Result<()> {
    let options = KafkaOptions::of(&sink.table)?;
    if options.guarantee != Guarantee::ExactlyOnce {
        return Ok(());
    }
    abort_open(&Client::connect(&options).await?, &options.transactional_id_prefix).await.map(|_| ())
}

/// Aborts the open transactions whose ids have this prefix; says which they were.
pub async fn abort_open(client: &Client, prefix: &str) -> Result<Vec<String>> {
    abort_those(client, |id| ids::owner(prefix, id).is_some()).await
}

/// Aborts what earlier attempts of these subtasks have open: one that stood still may begin a transaction after its successor has aborted what was
/// left, and nothing behind it would be seen.
async fn abort_superseded(client: &Client, prefix: &str, committed: &[Attempt]) {
    let is_superseded = |id: &str| {
        ids::owner(prefix, id).is_some_and(|owner| {
            committed.iter().any(|attempt| {
                (attempt.job, attempt.subtask) == (owner.job, owner.subtask) && attempt.number > owner.number
            })
        })
    };
    match abort_those(client, is_superseded).await {
        Ok(aborted) if aborted.is_empty() => {}
        Ok(aborted) => tracing::info!(?aborted, "transactions of attempts that are over are aborted"),
        // The next commit tries again, and Kafka ends them when their time is up.
        Err(error) => tracing::warn!(%error, "transactions of attempts that are over are not aborted"),
    }
}

async fn abort_those(client: &Client, which: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut aborted = Vec::new();
    for (id, state) in list(client).await? {
        if OPEN_STATES.contains(&state.as_str()) && which(&id) {
            take_over(client, &id).await?;
            aborted.push(id);
        }
    }
    Ok(aborted)
}

async fn commit_known(client: &Client, transaction: &Transaction, patience: Duration) -> Result<Known> {
    let started = Instant::now();
    loop {
        match try_commit(client, transaction).await {
            Ok(Ended::Committed) => return Ok(Known::Yes),
            Ok(Ended::Ending) if started.elapsed() < patience => sleep(ENDING_PAUSE).await,
            // It is decided: its rows become visible when the brokers come to it.
            Ok(Ended::Ending) => return Ok(Known::Yes),
            Ok(Ended::Unknown) => return Ok(Known::No),
            Err(error) if error.is_retriable() && started.elapsed() < patience => {
                tracing::debug!(transaction = transaction.id, %error, "committing is tried again");
                sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(failed("commit transaction", &transaction.id, error)),
        }
    }
}

enum Ended {
    /// Its rows are visible.
    Committed,
    /// It is decided, and its partitions are told of it.
    Ending,
    /// The id has moved on since: to another transaction, or because this one was aborted.
    Unknown,
}

async fn try_commit(client: &Client, transaction: &Transaction) -> Result<Ended, KrafkaError> {
    let Some(description) = describe(client, &transaction.id).await? else { return Ok(Ended::Unknown) };
    let is_this = description.producer_id == transaction.producer_id
        && description.producer_epoch == transaction.producer_epoch;
    // A commit ends the epoch in the second protocol, and the writer goes on in the next. An abort by whoever takes the id over leaves that
    // epoch out.
    let is_next = transaction.is_v2
        && description.producer_id == transaction.producer_id
        && Some(description.producer_epoch) == transaction.producer_epoch.checked_add(1);
    match description.state.as_str() {
        "CompleteCommit" if is_this || is_next => Ok(Ended::Committed),
        "PrepareCommit" if is_this || is_next => Ok(Ended::Ending),
        "Ongoing" if is_this => end(client, transaction).await,
        "Ongoing" if is_next => Ok(Ended::Committed),
        "PrepareAbort" | "PrepareEpochFence" => Err(concurrent(&transaction.id)),
        _ => Ok(Ended::Unknown),
    }
}

fn concurrent(id: &str) -> KrafkaError {
    KrafkaError::broker(ErrorCode::ConcurrentTransactions, format!("transaction {id} is being ended"))
}

async fn describe(client: &Client, id: &str) -> Result<Option<TransactionDescription>, KrafkaError> {
    let options = DescribeTransactionsOptions::default().timeout(QUESTION_TIMEOUT);
    match client.admin().describe_transactions([id], options).await?.remove(id) {
        Some(Ok(description)) => Ok(Some(description)),
        Some(Err(KrafkaError::Broker { code: ErrorCode::TransactionalIdNotFound, .. })) | None => Ok(None),
        Some(Err(error)) => Err(error),
    }
}

async fn end(client: &Client, transaction: &Transaction) -> Result<Ended, KrafkaError> {
    let coordinator = coordinator(&client.kafka, &transaction.id).await?;
    let version = if transaction.is_v2 { END_V2 } else { END_V1 };
    let request = EndTxnRequest::commit(&transaction.id, transaction.producer_id, transaction.producer_epoch);
    let mut answer = coordinator
        .send_request(ApiKey::EndTxn, version, |buffer: &mut BytesMut| request.encode_v3(buffer))
        .await?;
    let answer = match transaction.is_v2 {
        true => EndTxnResponse::decode_v5(&mut answer)?,
        false => EndTxnResponse::decode_v3(&mut answer)?,
    };
    match answer.error_code {
        ErrorCode::None => Ok(Ended::Ending),
        ErrorCode::InvalidProducerEpoch
        | ErrorCode::ProducerFenced
        | ErrorCode::InvalidTxnState
        | ErrorCode::InvalidProducerIdMapping => Ok(Ended::Unknown),
        code => Err(KrafkaError::broker(code, "EndTxn was refused")),
    }
}

/// The broker that keeps a transactional id.
async fn coordinator(kafka: &Kafka, id: &str) -> Result<Arc<BrokerConnection>, KrafkaError> {
    let pool = kafka_pool(kafka);
    let mut failure = KrafkaError::broker(ErrorCode::CoordinatorNotAvailable, "no broker is known");
    for broker in kafka_metadata(kafka).brokers() {
        let asked = async {
            let connection = pool.get_connection_by_id(broker.id(), broker.address()).await?;
            let request = FindCoordinatorRequest::for_transaction(id);
            let encode = |buffer: &mut BytesMut| request.encode_v3(buffer);
            let mut answer: Bytes =
                connection.send_request(ApiKey::FindCoordinator, FIND_COORDINATOR, encode).await?;
            let found = FindCoordinatorResponse::decode_v3(&mut answer)?;
            match found.error_code {
                ErrorCode::None => {
                    let address = format!("{}:{}", found.host, found.port);
                    pool.get_connection_by_id(found.node_id, &address).await
                }
                code => Err(KrafkaError::broker(code, "no coordinator was found")),
            }
        };
        match asked.await {
            Ok(connection) => return Ok(connection),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Kafka no longer knows how the transaction ended. Its records do: those of an aborted one are left out when committed records
/// are read.
async fn look_for_witness(client: &Client, transaction: &Transaction, patience: Duration) -> Result<()> {
    let lost = || Error::LostTransaction { transaction: transaction.id.clone(), rows: transaction.rows };
    let Some(Witness { topic, partition, offset }) = &transaction.witness else { return Err(lost()) };
    let unread = |error| failed("look for the rows of a transaction in", topic, error);
    let consumer = client
        .kafka
        .consumer_without_group()
        .isolation_level(IsolationLevel::ReadCommitted)
        .auto_offset_reset(AutoOffsetReset::None)
        .max_poll_records(1)
        .metrics_push(false)
        .build()
        .await
        .map_err(unread)?;
    consumer.assign(topic, vec![*partition]).await.map_err(unread)?;
    consumer.seek(topic, *partition, *offset).await.map_err(unread)?;
    let started = Instant::now();
    loop {
        let outcome = match consumer.poll(RETRY_PAUSE).await {
            Ok(records) => match records.first() {
                Some(record) if record.offset == *offset => Some(Ok(())),
                Some(_) => Some(Err(lost())),
                None => {
                    let position = consumer.position(topic, *partition).await.unwrap_or(*offset);
                    (position > *offset).then(|| Err(lost()))
                }
            },
            Err(error) if error.is_retriable() => None,
            Err(error) => Some(Err(unread(error))),
        };
        match outcome {
            Some(outcome) => {
                let _ = consumer.close().await;
                return outcome;
            }
            None if started.elapsed() < patience => {}
            None => return Err(unread(KrafkaError::timeout("read"))),
        }
    }
}
