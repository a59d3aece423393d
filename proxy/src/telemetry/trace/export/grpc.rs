//! What collectors over gRPC share: a connection that is made when there is something to say, and which refusals may be over the
//! next time.

use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::{SEND_DEADLINE, Untaken};

/// To one collector; called again when it broke.
#[derive(Debug)]
pub(super) struct Connection {
    address: String,
    channel: Option<Channel>,
}

impl Connection {
    pub(super) fn to(address: &str) -> Self {
        Self { address: address.to_owned(), channel: None }
    }

    /// A client that can send.
    pub(super) async fn ready(&mut self) -> Result<Grpc<Channel>, Untaken> {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => self.channel.insert(channel(&self.address)?).clone(),
        };
        let mut client = Grpc::new(channel);
        client.ready().await.map_err(|error| Untaken::Later(error.to_string()))?;
        Ok(client)
    }
}

fn channel(address: &str) -> Result<Channel, Untaken> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|error| Untaken::Never(format!("{address} is no address: {error}")))?;
    Ok(endpoint.connect_timeout(SEND_DEADLINE).tcp_nodelay(true).connect_lazy())
}

/// Which refusals may be over the next time (OTLP, "Failures").
pub(super) fn untaken(status: &Status) -> Untaken {
    let why = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss
        // A connection that breaks under a call.
        | Code::Unknown
        | Code::Internal => Untaken::Later(why),
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Unauthenticated => Untaken::Never(why),
    }
}
