//! Whether a failed job may try again, and after which delay: Flink's restart strategies by their options.

use std::{collections::VecDeque, time::Duration};

use thalweg_graph::{Options, options};

use crate::clock::Timestamp;

/// A strategy with its memory.
#[derive(Debug, Clone)]
pub enum RestartStrategy {
    /// Never.
    None,
    /// A number of times in all, always after the same delay.
    FixedDelay {
        /// Restarts left.
        left: u32,
        /// The delay.
        delay: Duration,
    },
    /// As long as failures are not too frequent.
    FailureRate {
        /// Failures that are allowed in the interval.
        max: usize,
        /// The interval.
        interval: Duration,
        /// The delay.
        delay: Duration,
        /// The newest failures.
        recent: VecDeque<Timestamp>,
    },
    /// A number of times, each after a longer delay.
    ExponentialDelay {
        /// Restarts left.
        left: u32,
        /// The next delay.
        next: Duration,
        /// The largest delay.
        max: Duration,
        /// The factor between delays.
        multiplier: f64,
    },
}

impl RestartStrategy {
    /// Reads the strategy from a job's options.
    pub fn read(job: &Options) -> Result<Self, options::InvalidValue> {
        let name = job.get(&options::RESTART_STRATEGY)?;
        Ok(match name.to_ascii_lowercase().as_str() {
            "none" | "off" | "disable" | "no-restart" => RestartStrategy::None,
            "fixed-delay" | "fixeddelay" => RestartStrategy::FixedDelay {
                left: job.get(&options::FIXED_DELAY_ATTEMPTS)?,
                delay: job.get(&options::FIXED_DELAY_DELAY)?,
            },
            "failure-rate" | "failurerate" => RestartStrategy::FailureRate {
                max: job.get(&options::FAILURE_RATE_MAX)? as usize,
                interval: job.get(&options::FAILURE_RATE_INTERVAL)?,
                delay: job.get(&options::FAILURE_RATE_DELAY)?,
                recent: VecDeque::new(),
            },
            "exponential-delay" | "exponentialdelay" => RestartStrategy::ExponentialDelay {
                left: job.get(&options::EXPONENTIAL_ATTEMPTS)?,
                next: job.get(&options::EXPONENTIAL_INITIAL)?,
                max: job.get(&options::EXPONENTIAL_MAX)?,
                multiplier: job.get(&options::EXPONENTIAL_MULTIPLIER)?.max(1.0),
            },
            _ => {
                return Err(options::InvalidValue {
                    key: options::RESTART_STRATEGY.name.to_owned(),
                    value: name,
                    expected: "`none`, `fixed-delay`, `failure-rate` or `exponential-delay`".to_owned(),
                });
            }
        })
    }

    /// The delay before the restart that a failure at `now` asks for; `None`: no restart any more.
    pub fn on_failure(&mut self, now: Timestamp) -> Option<Duration> {
        match self {
            RestartStrategy::None => None,
            RestartStrategy::FixedDelay { left, delay } => {
                *left = left.checked_sub(1)?;
                Some(*delay)
            }
            RestartStrategy::FailureRate { max, interval, delay, recent } => {
                while recent.front().is_some_and(|at| at.after(*interval) <= now) {
                    recent.pop_front();
                }
                recent.push_back(now);
                (recent.len() <= *max).then_some(*delay)
            }
            RestartStrategy::ExponentialDelay { left, next, max, multiplier } => {
                *left = left.checked_sub(1)?;
                let delay = *next;
                *next = delay.mul_f64(multiplier.min(1e6)).min(*max);
                Some(delay)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strategy(options: &[(&str, &str)]) -> RestartStrategy {
        RestartStrategy::read(&options.iter().copied().collect()).unwrap()
    }

    #[test]
    fn fixed_delay_allows_its_number_of_restarts() {
        let mut fixed = strategy(&[
            ("restart-strategy.type", "fixed-delay"),
            ("restart-strategy.fixed-delay.attempts", "2"),
            ("restart-strategy.fixed-delay.delay", "5 s"),
        ]);
        let delays: Vec<_> = (0..3).map(|at| fixed.on_failure(Timestamp(at))).collect();
        assert_eq!(delays, [Some(Duration::from_secs(5)), Some(Duration::from_secs(5)), None]);
    }

    #[test]
    fn failure_rate_forgets_old_failures() {
        let mut rate = strategy(&[
            ("restart-strategy.type", "failure-rate"),
            ("restart-strategy.failure-rate.max-failures-per-interval", "1"),
            ("restart-strategy.failure-rate.failure-rate-interval", "1 min"),
        ]);
        assert!(rate.on_failure(Timestamp(0)).is_some());
        assert!(rate.on_failure(Timestamp(60_000)).is_some());
        assert!(rate.on_failure(Timestamp(60_001)).is_none());
    }

    #[test]
    fn exponential_delay_grows_up_to_its_limit() {
        let mut exponential = strategy(&[
            ("restart-strategy.exponential-delay.initial-backoff", "100 ms"),
            ("restart-strategy.exponential-delay.max-backoff", "250 ms"),
            ("restart-strategy.exponential-delay.backoff-multiplier", "2"),
            ("restart-strategy.exponential-delay.attempts-before-reset-backoff", "3"),
        ]);
        let delays: Vec<_> =
            (0..4).map(|at| exponential.on_failure(Timestamp(at)).map(|d| d.as_millis())).collect();
        assert_eq!(delays, [Some(100), Some(200), Some(250), None]);
    }

    #[test]
    fn an_unknown_strategy_is_refused() {
        let options: Options = [("restart-strategy.type", "sometimes")].into_iter().collect();
        assert!(RestartStrategy::read(&options).unwrap_err().to_string().contains("`fixed-delay`"));
    }
}
