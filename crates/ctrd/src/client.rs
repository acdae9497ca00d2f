//! The connection to one containerd, bound to one namespace.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_client::services::v1 as svc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint as Transport, Uri};

use crate::{Error, Result};

/// How long an ordinary call may take before it is given up.
pub(crate) const CALL: Duration = Duration::from_secs(60);
/// How much later than ours the limit of those is that work for us: it is us who tell of it.
const GRACE: Duration = Duration::from_secs(1);
/// How long a connection attempt may take.
const CONNECT: Duration = Duration::from_secs(5);
/// The largest headers taken from containerd, in bytes. Its errors come in one, with the names and
/// arguments in them that whoever made an image or container chose: a tar's are up to a megabyte, and each
/// byte that is no letter takes three here.
const MAX_HEADERS: u32 = 4 << 20;
/// The largest message taken from containerd; OCI specs and listings are far below it.
const MAX_MESSAGE: usize = 16 << 20;

/// Where a containerd listens and what we are to it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The path of its gRPC socket.
    pub socket: PathBuf,
    /// The containerd namespace that every call is made in; Docker's is `moby`.
    pub namespace: String,
}

/// A connection to containerd. Clones share it; it reconnects by itself after containerd
/// went away, and calls made meanwhile fail with [`Error::Unreachable`].
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    namespace: MetadataValue<Ascii>,
    endpoint: Endpoint,
    lease: Option<MetadataValue<Ascii>>,
}

impl Client {
    /// Prepares the connection; it is made at the first call. No RPC.
    ///
    /// # Errors
    /// When the namespace cannot be a header value.
    pub fn new(endpoint: Endpoint) -> Result<Client> {
        let namespace = endpoint.namespace.parse().map_err(|_| Error::Protocol {
            method: "connect",
            what: format!("invalid namespace {:?}", endpoint.namespace),
        })?;
        let socket = endpoint.socket.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move {
                let stream = tokio::net::UnixStream::connect(socket).await?;
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
            }
        });
        let channel = Transport::from_static("http://containerd")
            .connect_timeout(CONNECT)
            .http2_max_header_list_size(MAX_HEADERS)
            .connect_with_connector_lazy(connector);
        Ok(Client {
            channel,
            namespace,
            endpoint,
            lease: None,
        })
    }

    /// The socket this client talks to.
    pub fn socket(&self) -> &Path {
        &self.endpoint.socket
    }

    /// The namespace every call is made in.
    pub fn namespace(&self) -> &str {
        &self.endpoint.namespace
    }

    /// A clone of this client whose calls carry the lease `id`, so that whatever they
    /// create is protected from garbage collection while the lease exists. No RPC.
    pub fn with_lease(&self, id: &str) -> Client {
        Client {
            lease: id.parse().ok(),
            ..self.clone()
        }
    }

    /// containerd's version and revision. 1 RPC (`Version.Version`).
    pub async fn version(&self) -> Result<(String, String)> {
        let mut c = svc::version_client::VersionClient::new(self.channel());
        let v = self
            .call(
                "Version.Version",
                Duration::from_secs(5),
                c.version(self.request(())),
            )
            .await?;
        Ok((v.version, v.revision))
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Wraps a message with our namespace and, where there is one, our lease.
    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let headers = request.metadata_mut();
        headers.insert("containerd-namespace", self.namespace.clone());
        if let Some(lease) = &self.lease {
            headers.insert("containerd-lease", lease.clone());
        }
        request
    }

    /// The same for a call that a shim and its runtime take part in. The limit goes with it all the
    /// way, so that the shim kills a runtime that still hangs when nobody waits for it any more.
    pub(crate) fn limited<T>(&self, limit: Duration, message: T) -> tonic::Request<T> {
        let mut request = self.request(message);
        request.set_timeout(limit + GRACE);
        request
    }

    /// Awaits one unary call under a time limit and classifies its failure.
    pub(crate) async fn call<T>(
        &self,
        method: &'static str,
        limit: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Error::from_status(method, status)),
            Err(_) => Err(Error::Timeout {
                method,
                seconds: limit.as_secs(),
            }),
        }
    }

    pub(crate) fn content_client(&self) -> svc::content_client::ContentClient<Channel> {
        svc::content_client::ContentClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn snapshots_client(
        &self,
    ) -> svc::snapshots::snapshots_client::SnapshotsClient<Channel> {
        svc::snapshots::snapshots_client::SnapshotsClient::new(self.channel())
    }

    pub(crate) fn containers_client(&self) -> svc::containers_client::ContainersClient<Channel> {
        svc::containers_client::ContainersClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE)
    }

    pub(crate) fn tasks_client(&self) -> svc::tasks_client::TasksClient<Channel> {
        svc::tasks_client::TasksClient::new(self.channel())
    }
}
