use std::time::Duration;

use bytes::Bytes;
use pingora::upstreams::peer::Peer;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixListener},
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    config::testing,
    upstream::{
        exchange::{Dialer, OpenError, Part},
        request::UpstreamRequest,
        testing::{PATIENCE, open},
    },
};

fn tcp(host: &str) -> Upstream {
    let address = UpstreamAddress::Tcp {
        host: host.to_owned(),
        port: 8080,
    };
    Upstream {
        address,
        ..(*testing::upstream(1)).clone()
    }
}

fn tls(ca: Option<&Path>, server_name: &str) -> UpstreamTls {
    UpstreamTls {
        server_name: server_name.to_owned(),
        ca: ca.map(Path::to_owned),
        verify: true,
    }
}

fn peers() -> Peers {
    Peers::new(Arc::new(Metrics::new()))
}

async fn resolve(upstream: &Upstream) -> Result<Vec<HttpPeer>, PeerError> {
    peers()
        .resolve(upstream, Purpose::EventStream, Millis(0))
        .await
}

#[tokio::test]
async fn addresses_are_taken_as_they_are() {
    for (host, address) in [("127.0.0.1", "127.0.0.1:8080"), ("::1", "[::1]:8080")] {
        let peers = resolve(&tcp(host)).await.unwrap();
        let found: Vec<String> = peers
            .iter()
            .map(|peer| peer.address().to_string())
            .collect();
        assert_eq!(found, [address]);
        assert!(!peers[0].is_tls());
    }
}

#[tokio::test]
async fn a_name_gives_its_addresses_once_each_ipv4_first() {
    let peers = resolve(&tcp("localhost")).await.unwrap();
    let found: Vec<String> = peers
        .iter()
        .map(|peer| peer.address().to_string())
        .collect();
    assert_eq!(found[0], "127.0.0.1:8080");
    assert!(
        found[1..].iter().all(|address| address == "[::1]:8080"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_name_without_an_address_is_a_clear_error() {
    let error = resolve(&tcp("no-such-host.invalid"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("cannot resolve \"no-such-host.invalid\": "),
        "{error}"
    );
}

#[tokio::test]
async fn options_fit_the_purpose() {
    let upstream = tcp("127.0.0.1");
    let peers = peers();
    for purpose in [Purpose::EventStream, Purpose::PassThrough] {
        let peers = peers.resolve(&upstream, purpose, Millis(0)).await.unwrap();
        let options = &peers[0].options;
        assert_eq!(options.alpn, ALPN::H1);
        assert_eq!(
            options.total_connection_timeout,
            Some(upstream.connect_timeout)
        );
        assert!(options.tcp_keepalive.is_some());
        let read_timeout = match purpose {
            Purpose::EventStream => None,
            Purpose::PassThrough => Some(upstream.read_timeout),
        };
        assert_eq!(options.read_timeout, read_timeout);
    }
}

#[tokio::test]
async fn what_is_offered_by_alpn_follows_the_setting() {
    for (http, alpn) in [
        (AppHttp::One, ALPN::H1),
        (AppHttp::Two, ALPN::H2),
        (AppHttp::Auto, ALPN::H2H1),
    ] {
        let upstream = Upstream {
            http,
            ..tcp("127.0.0.1")
        };
        assert_eq!(resolve(&upstream).await.unwrap()[0].options.alpn, alpn);
    }
}

#[tokio::test]
async fn tls_without_a_name_is_refused_because_it_would_check_nothing() {
    let upstream = Upstream {
        tls: Some(tls(None, "")),
        ..tcp("127.0.0.1")
    };
    assert_eq!(
        resolve(&upstream).await.unwrap_err(),
        PeerError::NoServerName
    );
}

#[tokio::test]
async fn a_bad_bundle_of_authorities_is_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let upstream = Upstream {
        tls: Some(tls(Some(&path), "a.example")),
        ..tcp("127.0.0.1")
    };
    let not_a_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let not_base64 = "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n";
    for (content, problem) in [
        (None, "No such file"),
        (Some(""), "it holds no certificate"),
        (Some("text"), "it holds no certificate"),
        (Some(not_a_certificate), "certificate 1: "),
        (Some(not_base64), "not PEM"),
    ] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let error = resolve(&upstream).await.unwrap_err().to_string();
        assert!(
            error.contains("ca.pem") && error.contains(problem),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_bundle_is_kept_for_a_while_and_then_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, self_signed("a.example").cert.pem()).unwrap();
    let upstream = Upstream {
        tls: Some(tls(Some(&path), "a.example")),
        ..tcp("127.0.0.1")
    };
    let peers = peers();
    let at = |seconds| Millis(0).after(Duration::from_secs(seconds));
    peers
        .resolve(&upstream, Purpose::EventStream, at(0))
        .await
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    peers
        .resolve(&upstream, Purpose::EventStream, at(59))
        .await
        .unwrap();
    peers
        .resolve(&upstream, Purpose::EventStream, at(60))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_connection_is_shared_by_those_alone_who_trust_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let [own, other] = [0; 2].map(|_| self_signed("a.example").cert.pem());
    std::fs::write(path("own.pem"), &own).unwrap();
    std::fs::write(path("copy.pem"), &own).unwrap();
    std::fs::write(path("other.pem"), &other).unwrap();
    let own = tls(Some(&path("own.pem")), "a.example");
    let with_ca = |name: &str| UpstreamTls {
        ca: Some(path(name)),
        ..own.clone()
    };
    let peers = peers();
    let key = async |tls: Option<UpstreamTls>, at: Millis| {
        let upstream = Upstream {
            tls,
            ..tcp("127.0.0.1")
        };
        let found = peers.resolve(&upstream, Purpose::PassThrough, at).await;
        found.unwrap()[0].reuse_hash()
    };
    let start = Millis(0);
    let shared = key(Some(own.clone()), start).await;
    assert_eq!(key(Some(with_ca("copy.pem")), start).await, shared);
    let others = [
        None,
        Some(with_ca("other.pem")),
        Some(UpstreamTls {
            ca: None,
            ..own.clone()
        }),
        Some(UpstreamTls {
            server_name: "b.example".to_owned(),
            ..own.clone()
        }),
        Some(UpstreamTls {
            verify: false,
            ..own.clone()
        }),
    ];
    for tls in others {
        assert_ne!(key(tls.clone(), start).await, shared, "{tls:?}");
    }
    // A renewed bundle does not vouch for connections that the old one let in.
    std::fs::write(path("own.pem"), &other).unwrap();
    assert_ne!(key(Some(own), start.after(BUNDLE_AGE_MAX)).await, shared);
}

#[tokio::test]
async fn a_path_that_no_socket_can_have_is_a_clear_error() {
    let address = UpstreamAddress::Unix(PathBuf::from(format!("/{}", "x".repeat(200))));
    let error = resolve(&Upstream {
        address,
        ..tcp("-")
    })
    .await
    .unwrap_err();
    assert!(
        error.to_string().contains("shorter than 108 bytes"),
        "{error}"
    );
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

async fn answer(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(ANSWER).await.unwrap();
    let _ = stream.read_u8().await;
}

async fn ask(upstream: &Upstream) -> Result<Bytes, OpenError> {
    let dialer = Dialer::new(Arc::new(peers()));
    let request = UpstreamRequest {
        target: "/".to_owned(),
        host: "app".to_owned(),
        headers: Vec::new(),
    };
    let opening = open(&dialer, upstream, &request);
    let mut opened = tokio::time::timeout(PATIENCE, opening)
        .await
        .expect("in time")?;
    match opened.body.read().await {
        Ok(Part::Data(data)) => Ok(Bytes::copy_from_slice(data)),
        other => panic!("no data: {other:?}"),
    }
}

#[tokio::test]
async fn an_app_on_a_unix_socket_is_reached() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let app = tokio::spawn(async move { answer(listener.accept().await.unwrap().0).await });
    let upstream = Upstream {
        address: UpstreamAddress::Unix(path),
        ..tcp("-")
    };
    assert_eq!(ask(&upstream).await.unwrap(), "hi");
    app.await.unwrap();
}

#[tokio::test]
async fn the_second_address_of_a_name_is_tried_when_the_first_refuses() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        eprintln!("no IPv6 here: nothing to show");
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let app = tokio::spawn(async move { answer(listener.accept().await.unwrap().0).await });
    let address = UpstreamAddress::Tcp {
        host: "localhost".to_owned(),
        port,
    };
    let upstream = Upstream {
        address,
        ..tcp("-")
    };
    if resolve(&upstream).await.unwrap().len() < 2 {
        eprintln!("localhost has one address here: nothing to show");
        return;
    }
    assert_eq!(ask(&upstream).await.unwrap(), "hi");
    app.await.unwrap();
}

fn self_signed(name: &str) -> CertifiedKey<rcgen::KeyPair> {
    generate_simple_self_signed([name.to_owned()]).unwrap()
}

/// An app that serves TLS as `a.example`, and an upstream that trusts its certificate.
async fn tls_app(directory: &Path) -> (Upstream, tokio::task::JoinHandle<()>) {
    let own = self_signed("a.example");
    let path = directory.join("ca.pem");
    std::fs::write(&path, own.cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        if let Ok(stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await {
            assert_eq!(stream.get_ref().1.alpn_protocol(), None);
            answer(stream).await;
        }
    });
    let address = UpstreamAddress::Tcp {
        host: "127.0.0.1".to_owned(),
        port,
    };
    let tls = Some(tls(Some(&path), "a.example"));
    (
        Upstream {
            address,
            tls,
            ..tcp("-")
        },
        app,
    )
}

#[tokio::test]
async fn a_certificate_of_a_named_authority_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let (upstream, app) = tls_app(directory.path()).await;
    assert_eq!(ask(&upstream).await.unwrap(), "hi");
    app.await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("other.pem");
    std::fs::write(&other, self_signed("a.example").cert.pem()).unwrap();
    for (wrong, reason) in [
        (tls(Some(&other), "a.example"), "certificate"),
        (tls(None, "a.example"), "UnknownIssuer"),
        (
            tls(Some(&directory.path().join("ca.pem")), "b.example"),
            "not valid for name \"b.example\"",
        ),
    ] {
        let (upstream, _app) = tls_app(directory.path()).await;
        let error = ask(&Upstream {
            tls: Some(wrong),
            ..upstream
        })
        .await
        .unwrap_err();
        assert!(matches!(error, OpenError::Unreachable(_)), "{error:?}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn verification_can_be_turned_off() {
    let directory = tempfile::tempdir().unwrap();
    for ca in [None, Some(directory.path().join("ca.pem"))] {
        let (upstream, app) = tls_app(directory.path()).await;
        let tls = UpstreamTls {
            server_name: "b.example".to_owned(),
            ca,
            verify: false,
        };
        assert_eq!(
            ask(&Upstream {
                tls: Some(tls),
                ..upstream
            })
            .await
            .unwrap(),
            "hi"
        );
        app.await.unwrap();
    }
}
