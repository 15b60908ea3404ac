//! Asks the app whether a live channel's credentials still let in: the request that opens the
//! channel, closed again at the head.
//!
//! It runs beside the channel's own stream, so that those who read it notice nothing.

use std::sync::Arc;

use super::{REFUSAL_WAIT, contained, request, warn};
use crate::{
    channel::{shared::Channel, state::Next},
    clock,
    logging::Seldom,
    metrics::{
        Metrics,
        labels::{PanicPlace, ReauthOutcome},
    },
    upstream::{
        exchange::{Dialer, OpenError, Opened, once_more_if_untouched},
        refusal,
        retry::Retry,
        verdict::{Verdict, judge},
    },
};

/// Failures are counted; a line about them is written at most this often, in seconds.
static UNPROVED: Seldom = Seldom::new(10);

/// What is wrong when no head comes.
const NO_HEAD: &str =
    "none within open_wait; an app that sends none before its first event needs `reauth: off`";

/// One series of tries.
pub(super) struct Prover {
    channel: Arc<Channel>,
    dialer: Arc<Dialer>,
    retry: Retry,
}

impl Prover {
    pub(super) fn new(channel: Arc<Channel>, dialer: Arc<Dialer>) -> Self {
        let retry = Retry::new(channel.settings().backoff);
        Self {
            channel,
            dialer,
            retry,
        }
    }

    /// Works until the app has said yes or no, or nobody waits for that any more.
    pub(super) async fn run(mut self, metrics: Arc<Metrics>) {
        let channel = self.channel.clone();
        tokio::select! {
            biased;
            () = channel.stopped() => {}
            done = contained(Box::pin(self.work())) => {
                if done.is_none() {
                    metrics.panics.inc(PanicPlace::Upstream);
                    channel.proving_broke();
                }
            }
        }
    }

    async fn work(&mut self) {
        while self.attempt().await == Next::Retry {
            self.retry.set_bounds(self.channel.settings().backoff);
            let delay = self.retry.next_delay(rand::random());
            // Whatever the app asked for (`Retry-After`): while this sleeps, nobody else asks for who
            // joins meanwhile.
            let time_left = self.channel.proof_wait_left(clock::now());
            tokio::time::sleep(delay.min(time_left)).await;
            if self.channel.is_proof_wanted(clock::now()) == Next::Stop {
                return;
            }
        }
    }

    /// One request, whose head decides.
    async fn attempt(&mut self) -> Next {
        let channel = self.channel.clone();
        let reauths = &channel.route_metrics.sharing.reauths;
        let problem = match self.ask().await {
            Err(error) => error.to_string(),
            Ok(Opened { head, mut body }) => {
                match judge(head.status, &head.headers, clock::wall()) {
                    Verdict::Stream => {
                        drop(body);
                        reauths.inc(ReauthOutcome::Proved);
                        channel.proved(clock::now());
                        return Next::Stop;
                    }
                    Verdict::Refused => {
                        reauths.inc(ReauthOutcome::Refused);
                        let kept = body.read_refusal(REFUSAL_WAIT).await;
                        drop(body);
                        channel.refused(refusal::refusal(&head, kept));
                        return Next::Stop;
                    }
                    Verdict::Retryable { retry_after } => {
                        self.retry.hold(retry_after.unwrap_or_default());
                        format!("it answered {}", head.status)
                    }
                }
            }
        };
        reauths.inc(ReauthOutcome::Failed);
        let what = "the app did not say whether a channel's credentials still hold";
        warn(&self.channel, &UNPROVED, &problem, what);
        Next::Retry
    }

    /// Asks as the channel's reader does, and for as long as a joiner waits.
    async fn ask(&self) -> Result<Opened, OpenError> {
        let route = self.channel.route();
        let deadline = clock::now().after(self.channel.settings().open_wait);
        let time_left = || deadline.since(clock::now());
        let request = request(&self.channel.key, self.channel.client, &route.upstream);
        once_more_if_untouched(|| async {
            let turn = self.dialer.turn(&route.upstream, time_left()).await?;
            let asking = async {
                let asked = self.dialer.ask_in_turn(turn, &route.upstream, &request);
                asked.await?.answer().await
            };
            tokio::time::timeout(time_left(), asking)
                .await
                .unwrap_or_else(|_| Err(OpenError::NoHead(NO_HEAD.to_owned())))
        })
        .await
    }
}
