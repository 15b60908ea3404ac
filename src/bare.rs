//! What pingora asks of a stream besides its bytes, and streams of ours have no answer to.

/// Such a stream has no digests and cannot be peeked at; it is shut down as any writer is.
macro_rules! bare_stream {
    ($stream:ty) => {
        #[async_trait::async_trait]
        impl pingora::protocols::Shutdown for $stream {
            async fn shutdown(&mut self) {
                // It ends either way; the peer may have closed first.
                let _ended = tokio::io::AsyncWriteExt::shutdown(self).await;
            }
        }

        impl pingora::protocols::GetTimingDigest for $stream {
            fn get_timing_digest(&self) -> Vec<Option<pingora::protocols::TimingDigest>> {
                Vec::new()
            }
        }

        impl pingora::protocols::GetProxyDigest for $stream {
            fn get_proxy_digest(
                &self,
            ) -> Option<std::sync::Arc<pingora::protocols::raw_connect::ProxyDigest>> {
                None
            }
        }

        impl pingora::protocols::GetSocketDigest for $stream {
            fn get_socket_digest(
                &self,
            ) -> Option<std::sync::Arc<pingora::protocols::SocketDigest>> {
                None
            }
        }

        impl pingora::protocols::Peek for $stream {}
    };
}

pub(crate) use bare_stream;
