//! A renewed certificate: the next handshakes use it, and nobody who is connected notices.

use std::{fs, path::Path};

use crate::{
    base::client,
    rig::{
        Side,
        app::App,
        make_certificate,
        reader::{End, H2, Reader, event_source, get, h1_over, tls},
    },
};

const CONNECTIONS: usize = 20;
const STREAMS: usize = 20;

/// Readers over TLS with both protocols, for which `trusted` is the certificate to see.
async fn readers(side: &Side, trusted: &Path) -> Vec<Reader> {
    let connect = async || client::tcp(side.tls()).await;
    let mut readers = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = tls(connect().await, trusted).await;
        readers.push(h1_over(stream, &event_source("/feed/a")).await);
    }
    let stream = client::tls_over(connect().await, trusted, &["h2"]).await;
    let connection = H2::over(stream, h2::client::Builder::new()).await;
    for _ in 0..STREAMS {
        readers.push(connection.ask(&get("/feed/a")).await);
    }
    readers
}

#[tokio::test]
async fn a_renewed_certificate_is_used_by_new_handshakes_and_cuts_no_stream() {
    let app = App::start().await;
    let side = Side::watching(&format!(
        "upstreams: {{ app: 'http://127.0.0.1:{}' }}\n\
         routes: [{{ name: feed, path: '/feed/{{*rest}}', action: fanout }}]\n\
         defaults: {{ head_wait: 1ms }}\n",
        app.port()
    ));
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let in_use = old.path().join("cert.pem");
    fs::copy(side.certificate(), &in_use).unwrap();
    make_certificate(new.path());
    let mut connected = readers(&side, &in_use).await;
    let mut exchange = app.opens().await;

    // Written one after the other, and slowly: meanwhile they are no pair.
    fs::copy(new.path().join("cert.pem"), side.certificate()).unwrap();
    let rotations =
        |outcome| format!("certificate_rotations_total{{listener=\"tls\",outcome=\"{outcome}\"}}");
    side.until_metric(&rotations("rejected"), 1).await;
    let page = side.admin("/readyz").await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(
        page.contains("listener tls: its new certificate is not in use: "),
        "{page}"
    );
    connected.extend(readers(&side, &in_use).await);

    fs::copy(new.path().join("key.pem"), side.key()).unwrap();
    side.until_metric(&rotations("applied"), 1).await;
    assert!(side.admin("/readyz").await.contains("\"notes\":[]"));
    connected.extend(readers(&side, &new.path().join("cert.pem")).await);
    assert!(side.metric("certificate_not_after_seconds{listener=\"tls\"}") > 0);

    side.until_members(connected.len()).await;
    exchange.event("to all of them").await;
    for reader in &mut connected {
        assert_eq!(reader.data(1).await, ["to all of them"]);
    }
    exchange.finish().await;
    for reader in &mut connected {
        assert_eq!(
            reader.end().await,
            End::Complete,
            "not before the app's own end"
        );
    }
    assert_eq!(app.requests(), 1);
}
