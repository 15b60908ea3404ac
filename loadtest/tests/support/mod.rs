//! Servers that do exactly what a test says, right or wrong.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use loadtest::{
    clock,
    payload::{self, Stamp},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, pem::PemObject},
    },
};

/// One event with a sequence number, as a well-behaved server sends it.
pub(crate) fn event(seq: u64) -> Vec<u8> {
    let mut out = format!("id: x-{seq}\ndata: ").into_bytes();
    payload::encode(
        &mut out,
        Stamp {
            seq,
            sent_ns: clock::now_ns(),
            channel: 0,
        },
        120,
    );
    out.extend_from_slice(b"\n\n");
    out
}

/// Events with these sequence numbers, one after the other.
pub(crate) fn events(seqs: &[u64]) -> Vec<u8> {
    seqs.iter().flat_map(|seq| event(*seq)).collect()
}

/// What the nth subscriber is sent; then its stream stays open.
pub(crate) type Script = Arc<dyn Fn(usize) -> Vec<u8> + Send + Sync>;

/// An HTTP/1.1 server that plays a script, in pieces that split lines and chunk heads.
pub(crate) async fn h1_server(script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(play(stream, script(number)));
        }
    });
    address
}

async fn play(mut stream: TcpStream, body: Vec<u8>) {
    let mut request = vec![0; 4_096];
    assert!(stream.read(&mut request).await.unwrap() > 0);
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
        Transfer-Encoding: chunked\r\n\r\n"
        .to_vec();
    for chunk in body.chunks(97) {
        answer.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        answer.extend_from_slice(chunk);
        answer.extend_from_slice(b"\r\n");
    }
    for piece in answer.chunks(61) {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    // Open until the client leaves.
    while matches!(stream.read(&mut request).await, Ok(1..)) {}
}

/// Whether a test server speaks TLS.
#[derive(Clone, Copy)]
pub(crate) enum Security {
    Plain,
    Tls,
}

/// An HTTP/2 server (the h2 crate) that plays a script; `status` is the answer to each stream.
pub(crate) async fn h2_server(security: Security, status: u16, script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = match security {
        Security::Plain => None,
        Security::Tls => Some(acceptor()),
    };
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let script = Arc::clone(&script);
            match tls.clone() {
                None => drop(tokio::spawn(h2_connection(stream, status, script))),
                Some(tls) => drop(tokio::spawn(async move {
                    let stream = tls.accept(stream).await.unwrap();
                    h2_connection(stream, status, script).await;
                })),
            }
        }
    });
    address
}

async fn h2_connection<S>(stream: S, status: u16, script: Script)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut open = Vec::new();
    let mut number = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert_eq!(request.headers()["accept"], "text/event-stream");
        let head = http::Response::builder()
            .status(status)
            .header("content-type", "text/event-stream")
            .body(())
            .unwrap();
        let mut body = respond.send_response(head, false).unwrap();
        for piece in script(number).chunks(73) {
            body.send_data(Bytes::copy_from_slice(piece), false)
                .unwrap();
        }
        number += 1;
        // Kept, so that the streams stay open.
        open.push((respond, body));
    }
}

fn acceptor() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
