//! What live channels say about the settings of their routes.

use super::*;
use crate::{
    channel::id::LocalId,
    config::model::{CookieIdentity, Identity},
    metrics::labels::Hint,
};

const LATER: Millis = Millis(1_000_000_000_000);

fn with_cookie(route: &Arc<Route>, cookie: &str) -> FanOut {
    let mut request = request(route, "/feed");
    let cookie = Bytes::copy_from_slice(cookie.as_bytes());
    request.key.headers = vec![(http::header::COOKIE, cookie)];
    request
}

/// An id that the channel of `epoch` has given.
fn id_of(epoch: Epoch) -> String {
    let id = LocalId {
        epoch,
        sequence: 0,
        app_id: None,
        seal: None,
    };
    id.to_string()
}

impl Rig {
    fn told(&self) -> Vec<(Hint, String)> {
        let rows = self.registry.hints().into_iter();
        rows.map(|row| (row.hint, row.detail)).collect()
    }

    fn level(&self, hint: Hint) -> i64 {
        self.metrics.route("feed").sharing.hints.get(hint)
    }
}

#[test]
fn many_channels_of_one_target_are_a_hint_until_the_route_says_what_tells_clients_apart() {
    let named = |settings: &mut Fanout| {
        settings.identity = Identity {
            headers: Vec::new(),
            cookies: CookieIdentity::Named(vec!["session".to_owned(), "_ga".to_owned()]),
        };
    };
    for (route, expected) in [(route(|_| {}), 1), (route(named), 0)] {
        let rig = Rig::new(route.clone());
        let join = |n: usize| {
            let cookie = format!("session={}; _ga={n}", n / 2);
            rig.join(&with_cookie(&route, &cookie)).unwrap()
        };
        let _members: Vec<_> = (0..150).map(join).collect();
        rig.registry.tick(clock::now());
        let told = rig.told();
        assert_eq!(rig.level(Hint::IdentitySplit), expected);
        if expected == 1 {
            let (hint, detail) = &told[0];
            assert_eq!(*hint, Hint::IdentitySplit);
            assert!(
                detail.ends_with("what differs: cookie _ga (150), cookie session (75)"),
                "{detail}"
            );
        }
        assert_eq!(told.len(), usize::try_from(expected).unwrap());
    }
}

#[test]
fn what_an_app_says_of_a_public_stream_is_a_hint_and_nothing_on_others() {
    let public = |settings: &mut Fanout| settings.share = Share::Public;
    for (route, name, value, detail) in [
        (
            route(public),
            "cache-control",
            "private",
            Some("the app sends Cache-Control: private"),
        ),
        (
            route(public),
            "set-cookie",
            "session=secret",
            Some("the app sends Set-Cookie"),
        ),
        (route(public), "cache-control", "no-store", None),
        (route(|_| {}), "cache-control", "private", None),
    ] {
        let rig = Rig::new(route.clone());
        let member = rig.join(&request(&route, "/a")).unwrap();
        let mut app = http::HeaderMap::new();
        app.insert(name, http::HeaderValue::from_static(value));
        assert!(member.channel().opened(&app, clock::now()));
        rig.registry.tick(clock::now());
        let expected: Vec<_> = detail
            .map(|detail| (Hint::MarkedPrivate, detail.to_owned()))
            .into_iter()
            .collect();
        assert_eq!(rig.told(), expected);
        // The operator acts on it.
        rig.store(vec![super::route(|settings| settings.strict = true)]);
        rig.reload();
        assert_eq!((rig.told(), rig.level(Hint::MarkedPrivate)), (vec![], 0));
    }
}

#[test]
fn clients_that_come_back_to_another_channel_are_a_hint() {
    let route = route(|_| {});
    let rig = Rig::new(route.clone());
    let old = rig.join(&with_cookie(&route, "_ga=old")).unwrap();
    let come = |cookie: String, epoch| {
        let mut request = with_cookie(&route, &cookie);
        request.last_event_id = Some(Bytes::from(id_of(epoch)));
        rig.join(&request).unwrap()
    };
    for n in 0..20 {
        // Of another pod, and of the same channel: neither says anything.
        drop(come(format!("_ga={n}"), Epoch::new(n)));
        drop(come("_ga=old".to_owned(), old.channel().epoch));
    }
    assert_eq!(rig.told(), []);
    for n in 0..10 {
        drop(come(format!("_ga={n}"), old.channel().epoch));
    }
    let expected = "10 clients brought an id of another channel; what had changed: cookie _ga (10)";
    assert_eq!(rig.told(), [(Hint::StrayIds, expected.to_owned())]);
    assert_eq!(rig.level(Hint::StrayIds), 1);
    // Ids of channels that are gone say nothing either.
    let id = id_of(old.channel().epoch);
    let is_known = || {
        let channels = rig.registry.channels.lock();
        channels.of_id(Some(id.as_bytes())).is_some()
    };
    assert!(is_known());
    drop(old);
    rig.wanted.0.lock().clear();
    rig.registry.tick(LATER);
    assert!(!is_known());
    assert!(rig.registry.channels.lock().by_epoch.is_empty());
}
