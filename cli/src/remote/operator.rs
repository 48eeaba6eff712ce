//! The operator's calls: who knows the cluster's secret may decide who else comes in. Without a secret they are calls like all others.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;
use thalweg_graph::Options;
use thalweg_rpc::{Trust, call::call};

use super::rest::{HOPS_MAX, Rest, token};

/// Calls as whoever runs the cluster.
pub struct Operator {
    rest: Rest,
    addresses: Vec<String>,
    /// Where there is a secret, and no token, which would say who it is.
    trust: Option<Trust>,
}

impl Operator {
    /// Of the JobManagers at `addresses` (`host:port`, several separated by commas); nothing is sent yet.
    pub fn new(addresses: &str, options: &Options) -> Result<Self> {
        let trust = Trust::from_options(options)?;
        let by_secret = trust.secret.is_some() && token(options)?.is_none();
        let rest = Rest::new(addresses, options)?;
        let addresses = addresses.split(',').map(str::to_owned).collect();
        Ok(Self { rest, addresses, trust: by_secret.then_some(trust) })
    }

    /// Asks for something.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.ask(Method::GET, path, None).await
    }

    /// Makes something.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Removes something.
    pub async fn delete(&self, path: &str) -> Result<Value> {
        self.ask(Method::DELETE, path, None).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        match &self.trust {
            None => self.rest.ask(method, path, body).await,
            Some(trust) => self.ask_proven(trust, &method, &format!("/v1{path}"), body).await,
        }
    }

    /// Asks one JobManager after the other until one answers that leads.
    async fn ask_proven(
        &self,
        trust: &Trust,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let body: Bytes = body.map(Value::to_string).unwrap_or_default().into();
        let mut problem = None;
        for address in &self.addresses {
            let mut address = address.clone();
            for _ in 0..HOPS_MAX {
                let answer = match call(&address, trust, method.clone(), path, body.clone()).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        problem = Some(anyhow::Error::from(error));
                        break;
                    }
                };
                if let Some(leader) = answer.elsewhere() {
                    address = leader;
                    continue;
                }
                if answer.status.is_success() {
                    return serde_json::from_slice(&answer.body)
                        .with_context(|| format!("`{address}{path}` gave an answer of another version"));
                }
                let refusal = super::rest::refusal_of(answer.status.as_u16(), &answer.body);
                if answer.status != StatusCode::SERVICE_UNAVAILABLE {
                    return Err(refusal);
                }
                problem = Some(refusal);
                break;
            }
        }
        match problem {
            Some(problem) => Err(problem),
            None => bail!("the JobManagers send calls to each other, and none leads; try again"),
        }
    }
}
