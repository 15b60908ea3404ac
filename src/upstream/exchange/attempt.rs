//! What becomes of an attempt to get an answer: what it says of the app, and whether there is another.

use std::{pin::pin, time::Duration};

use super::{OpenError, ResponseHead};
use crate::upstream::{
    gate::{Place, Turn},
    turns::Attempt,
};

/// Ends the turn by what the head says, or by its absence.
pub(super) async fn judged(
    head: impl Future<Output = Result<ResponseHead, OpenError>>,
    turn: Turn,
    wait: Duration,
) -> Result<(ResponseHead, Option<Place>), OpenError> {
    let mut head = pin!(head);
    let Ok(head) = tokio::time::timeout(wait, &mut head).await else {
        let place = turn.end(Attempt::Answered);
        return Ok((head.await?, place));
    };
    let place = turn.end(outcome(head.as_ref()));
    Ok((head?, place))
}

/// What an attempt says of the app.
pub(super) fn outcome(head: Result<&ResponseHead, &OpenError>) -> Attempt {
    match head {
        Ok(head) if head.status.is_server_error() => Attempt::Failed,
        Ok(_) => Attempt::Answered,
        // Of the connection alone.
        Err(OpenError::Untouched(_)) => Attempt::Abandoned,
        Err(
            OpenError::Request(_)
            | OpenError::Busy(_)
            | OpenError::Peer(_)
            | OpenError::Unreachable(_)
            | OpenError::NoHead(_),
        ) => Attempt::Failed,
    }
}

/// The result of `attempt`, and of another one if the app has not looked at the request: by HTTP/2 an
/// app that is about to leave says so, and the next connection leads to the one that stays. More than
/// once would be a storm on an app that turns all away.
///
/// # Errors
/// Those of the last attempt.
pub async fn once_more_if_untouched<T, F>(attempt: impl Fn() -> F) -> Result<T, OpenError>
where
    F: Future<Output = Result<T, OpenError>>,
{
    match attempt().await {
        Err(OpenError::Untouched(_)) => attempt().await,
        result => result,
    }
}
