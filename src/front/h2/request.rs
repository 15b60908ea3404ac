//! One request of an HTTP/2 connection: it is checked, decided about, and handed on.

use std::{sync::Arc, time::Duration};

use h2::Reason;
use http::{StatusCode, uri::Authority};
use pingora::{
    apps::HttpServerApp,
    http::ResponseHeader,
    protocols::http::{ServerSession, v2::server::HttpSession},
};

use super::{GOODBYE, Stay};
use crate::{
    answer::Answer,
    client::Client,
    clock,
    config::model::Route,
    decide::Decision,
    egress::h2::Connection,
    front::{Core, head::check_parts},
    passthrough::{Kind, Routed, pace::Watch, reply, request::view},
    subscribe::Downstream,
};

/// How long an answer of ours may wait for the client's window.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Decides about one request and hands it on. Nothing here waits: all streams of the connection
/// depend on it.
pub(super) fn take(
    session: HttpSession,
    peer: Client,
    stay: Stay,
    shared: &Arc<Connection>,
    core: &Arc<Core>,
) {
    // Requests may be on their way for a while after GOAWAY.
    let is_late = matches!(stay, Stay::Parting(since) if clock::now().since(since) >= GOODBYE);
    let streams = core.limits().streams_per_connection_max;
    if is_late || shared.is_above(streams as usize) {
        return refuse(session);
    }
    let head = session.req_header();
    let authority = head.uri.authority().map(Authority::as_str);
    let checked = check_parts(
        &head.method,
        head.raw_path(),
        authority,
        &head.headers,
        &core.limits(),
    );
    if let Err((status, text)) = checked {
        core.metrics.bad_heads.inc();
        answer(session, Answer::text(status, text), core);
        return;
    }
    let config = core.hub.config.load();
    let client = peer.behind(&head.headers, &config.trusted_proxies);
    let request = view(head, client, !session.is_body_empty());
    match core.hub.decide(&request, &config) {
        // The crate closes the connection once it has no streams, and of the shard's it has none.
        Decision::FanOut(_) if stay == Stay::Leaving => refuse(session),
        Decision::FanOut(request) => {
            core.hub.subscribe(
                request,
                Downstream::h2(session, shared.clone()),
                &core.shard,
            );
        }
        Decision::Refuse(refusal) => {
            core.metrics.refused.inc(refusal.reason);
            answer(session, reply::refusal(&refusal), core);
        }
        Decision::Answer(whole) => answer(session, *whole, core),
        Decision::Proxy(route) => pass(session, route, Kind::Proxy, client, core),
        Decision::Stream(route) => pass(session, route, Kind::Stream, client, core),
    }
}

/// The client asks again, here or elsewhere: nothing was done (RFC 9113, section 8.7).
fn refuse(mut session: HttpSession) {
    let Ok(head) = ResponseHeader::build(StatusCode::SERVICE_UNAVAILABLE, None) else {
        return;
    };
    // The reset takes the place of this head, which is needed for a hold on the stream.
    let begun = session.write_response_header(Box::new(head), false);
    if begun.is_ok()
        && let Some(mut send) = session.take_response_body_writer()
    {
        send.send_reset(Reason::REFUSED_STREAM);
    }
}

/// In a task of its own, since the window may have no room for the text.
fn answer(mut session: HttpSession, answer: Answer, core: &Arc<Core>) {
    session.set_write_timeout(Some(ANSWER_TIMEOUT));
    core.contained(async move {
        // The client may be gone, which is no news.
        let _ = reply::send_h2(&mut session, answer).await;
    });
}

fn pass(mut session: HttpSession, route: Arc<Route>, kind: Kind, client: Client, core: &Arc<Core>) {
    let watch = (!session.is_body_empty()).then(|| {
        let allowance = route.upstream.write_timeout;
        Arc::new(Watch::new(&core.limits(), allowance))
    });
    let routed = Routed {
        route,
        kind,
        client,
        watch: watch.clone(),
    };
    session.req_header_mut().extensions_mut().insert(routed);
    let this = core.clone();
    core.contained(async move {
        let session = ServerSession::new_http2(session);
        let work = this.proxy.process_new_http(session, &this.shutdown);
        let Some(watch) = watch else {
            work.await;
            return;
        };
        tokio::select! {
            _ = work => {}
            // Drops the work: the stream is reset, and the connection to the app closed.
            () = watch.too_slow() => this.metrics.slow_bodies.inc(),
        }
    });
}
