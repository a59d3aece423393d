//! Opens TCP connections to endpoints.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::Fault;
use crate::wire::socket::Socket;

/// A connection, within the cluster's limit of time.
pub(crate) async fn connect(address: SocketAddr, limit: Duration) -> Result<Socket, Fault> {
    match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(Socket::new(stream)),
        Ok(Err(error)) => Err(Fault::Connect(error.kind().to_string())),
        Err(_elapsed) => Err(Fault::ConnectTimeout),
    }
}
