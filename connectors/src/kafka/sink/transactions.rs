//! The transactions of one subtask: which is open, which wait to be committed by the leader, and which ids are free again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use krafka::{
    KrafkaError,
    admin::{DescribeTransactionsOptions, ListTransactionsOptions},
    error::ErrorCode,
    producer::{ProducerBuilder, TransactionalProducer},
};

use super::{
    super::client::{Client, QUESTION_TIMEOUT, failed},
    committable::Transaction,
    ids::{IdSpace, Kin},
};
use crate::error::{Error, Result};

/// States in which a transaction holds rows of which nothing is decided.
pub const OPEN_STATES: [&str; 2] = ["Ongoing", "PrepareEpochFence"];

/// A producer under one of the subtask's ids.
pub struct Numbered {
    number: u32,
    /// The producer.
    pub producer: TransactionalProducer,
}

/// The transactional ids of one attempt.
///
/// An id is taken once, and kept: whoever takes it later, to abort what is open, fences the attempt off for good.
pub struct Transactions {
    client: Client,
    ids: IdSpace,
    configure: Box<dyn Fn(&Client) -> ProducerBuilder + Send + Sync>,
    /// Those whose transaction waits to be committed.
    prepared: Vec<Numbered>,
    /// Those that can begin another one.
    free: Vec<Numbered>,
    /// The number after all that were used.
    next: u32,
}

impl Transactions {
    /// Aborts what those before have left open: earlier attempts of the subtask, and jobs that are over. What they had prepared for a
    /// checkpoint that is complete was committed before this attempt was started. An attempt that comes when a later one has begun is refused.
    pub async fn open(
        client: Client,
        ids: IdSpace,
        configure: Box<dyn Fn(&Client) -> ProducerBuilder + Send + Sync>,
    ) -> Result<Self> {
        // Before anything else: whoever stands still from here on must not end what has begun meanwhile.
        let opened = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let known = list(&client).await?;
        let kin = |id: &str| ids.kin(id);
        let earlier = known.iter().filter_map(|(id, _)| match kin(id) {
            Some(Kin::Earlier(attempt)) => Some(attempt),
            _ => None,
        });
        // The last one may still run, and begin a transaction under an id that is not open now.
        let last = earlier.max();
        for (id, state) in known {
            let is_open = OPEN_STATES.contains(&state.as_str());
            let is_left = match kin(&id) {
                Some(Kin::Later(later)) => {
                    let why =
                        format!("attempt {later} of this subtask has begun, and this is {}", ids.attempt());
                    let fenced = KrafkaError::broker(ErrorCode::ProducerFenced, why);
                    return Err(failed("begin transactions at", &client.servers, fenced));
                }
                Some(Kin::Earlier(attempt)) => is_open || Some(attempt) == last,
                Some(Kin::OfAnotherJob) => is_open && began_before(&client, &id, opened).await?,
                Some(Kin::Own) | None => false,
            };
            if is_left {
                take_over(&client, &id).await?;
            }
        }
        Ok(Self { client, ids, configure, prepared: Vec::new(), free: Vec::new(), next: 0 })
    }

    async fn producer(&self, number: u32) -> Result<TransactionalProducer> {
        let id = self.ids.id(number);
        let timeout = self.client.properties.transaction_timeout();
        let builder = (self.configure)(&self.client).transaction_timeout(timeout);
        let built = builder.build_transactional(&id).await;
        built.map_err(|error| match &error {
            KrafkaError::Broker { code: ErrorCode::InvalidTransactionTimeout, .. } => Error::InvalidOption(format!(
                "the job's transactions may take {} ms (`properties.transaction.timeout.ms`), which is more than the brokers at \
                 `{}` allow; raise `transaction.max.timeout.ms` there, or lower it here: a job that is not restored within \
                 this time loses rows",
                timeout.as_millis(),
                self.client.servers
            )),
            _ => failed("begin a transaction as", &id, error),
        })
    }

    /// Begins a transaction.
    pub async fn begin(&mut self) -> Result<Numbered> {
        self.reclaim().await?;
        let numbered = match self.free.pop() {
            Some(numbered) => numbered,
            None => {
                let number = self.next;
                let producer = self.producer(number).await?;
                self.next += 1;
                Numbered { number, producer }
            }
        };
        let begun = numbered.producer.begin();
        begun.map_err(|error| failed("begin a transaction as", &self.ids.id(numbered.number), error))?;
        Ok(numbered)
    }

    /// A transaction whose rows are all written waits to be committed by the leader: what it needs for that.
    pub fn prepared(&mut self, numbered: Numbered) -> Transaction {
        let producer = &numbered.producer;
        let transaction = Transaction {
            id: producer.transactional_id().to_owned(),
            producer_id: producer.producer_id(),
            producer_epoch: producer.producer_epoch(),
            is_v2: producer.transaction_version().is_v2(),
            rows: 0,
            bytes: 0,
            witness: None,
        };
        self.prepared.push(numbered);
        transaction
    }

    /// Frees the ids whose transaction the leader has committed meanwhile.
    async fn reclaim(&mut self) -> Result<()> {
        if self.prepared.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = self.prepared.iter().map(|numbered| self.ids.id(numbered.number)).collect();
        let options = DescribeTransactionsOptions::default().timeout(QUESTION_TIMEOUT);
        let described = self.client.admin().describe_transactions(&ids, options).await;
        let described =
            described.map_err(|error| failed("ask for transactions at", &self.client.servers, error))?;
        for numbered in std::mem::take(&mut self.prepared) {
            let id = self.ids.id(numbered.number);
            let Some(Ok(now)) = described.get(&id) else {
                self.prepared.push(numbered);
                continue;
            };
            let producer = &numbered.producer;
            let is_own = now.producer_id == producer.producer_id();
            match now.state.as_str() {
                "CompleteCommit" if is_own && producer.transaction_version().is_v2() => {
                    // To commit once more is how this producer learns of it; one that was fenced off meanwhile fails here.
                    let committed = producer.commit().await;
                    committed.map_err(|error| failed("go on after transaction", &id, error))?;
                    self.free.push(numbered);
                }
                // In the first protocol this producer's next transaction would have the same epoch, and whoever commits this one again,
                // after a failure, would commit the next half done.
                "CompleteCommit" if is_own && now.producer_epoch == producer.producer_epoch() => {
                    let number = numbered.number;
                    drop(numbered);
                    self.free.push(Numbered { number, producer: self.producer(number).await? });
                }
                "CompleteCommit" | "CompleteAbort" | "Empty" | "Dead" => {
                    let why = format!("its id is in state {} and no longer this subtask's", now.state);
                    let fenced = KrafkaError::broker(ErrorCode::ProducerFenced, why);
                    return Err(failed("go on after transaction", &id, fenced));
                }
                _ => self.prepared.push(numbered),
            }
        }
        Ok(())
    }
}

/// Whether the transaction of an id was begun before a time since the Unix epoch.
async fn began_before(client: &Client, id: &str, time: Duration) -> Result<bool> {
    let options = DescribeTransactionsOptions::default().timeout(QUESTION_TIMEOUT);
    let described = client.admin().describe_transactions([id], options).await;
    let mut described =
        described.map_err(|error| failed("ask for transactions at", &client.servers, error))?;
    // One that is gone has ended.
    let Some(Ok(description)) = described.remove(id) else { return Ok(false) };
    let begun = u64::try_from(description.start_time_ms).map(Duration::from_millis);
    Ok(begun.is_ok_and(|begun| begun < time))
}

/// Aborts what is open under an id, by taking the id away from whoever has it.
pub async fn take_over(client: &Client, id: &str) -> Result<()> {
    let builder = client.properties.producer(&client.kafka);
    let builder = builder.transaction_timeout(client.properties.transaction_timeout());
    let taken = builder.build_transactional(id).await;
    let taken = taken.map_err(|error| failed("abort transaction", id, error))?;
    taken.close().await.map_err(|error| failed("abort transaction", id, error))
}

/// All transactional ids that the cluster knows, with their states.
pub async fn list(client: &Client) -> Result<Vec<(String, String)>> {
    let options = ListTransactionsOptions::default().timeout(QUESTION_TIMEOUT);
    let by_broker = client.admin().list_transactions(options).await;
    let by_broker = by_broker.map_err(|error| failed("list the transactions at", &client.servers, error))?;
    let mut transactions = Vec::new();
    for listed in by_broker.into_values() {
        let listed = listed.map_err(|error| failed("list the transactions at", &client.servers, error))?;
        transactions.extend(listed.into_iter().map(|listed| (listed.transactional_id, listed.state)));
    }
    Ok(transactions)
}
