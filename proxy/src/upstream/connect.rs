//! Opens connections to endpoints.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::Fault;
use crate::tls::client::{ClientTls, Inside};
use crate::wire::socket::Socket;

/// A connection, encrypted where the cluster asks for it, all within the cluster's limit of time.
pub(crate) async fn connect(
    address: SocketAddr,
    limit: Duration,
    tls: Option<&ClientTls>,
    inside: Inside,
) -> Result<Socket, Fault> {
    let Some(tls) = tls else {
        return match tokio::time::timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => Ok(Socket::new(stream)),
            Ok(Err(error)) => Err(Fault::Connect(error.kind().to_string())),
            Err(_elapsed) => Err(Fault::ConnectTimeout),
        };
    };
    // A handshake is large: boxed, so that requests over plaintext do not carry it.
    match tokio::time::timeout(limit, Box::pin(encrypted(address, tls, inside))).await {
        Ok(opened) => opened,
        Err(_elapsed) => Err(Fault::ConnectTimeout),
    }
}

/// A connection and its handshake; or what was wrong.
pub(crate) async fn encrypted(address: SocketAddr, tls: &ClientTls, inside: Inside) -> Result<Socket, Fault> {
    let stream = TcpStream::connect(address).await.map_err(|error| Fault::Connect(error.kind().to_string()))?;
    // As of every socket, see there.
    drop(stream.set_nodelay(true));
    tls.connect(stream, address, inside).await.map_err(Fault::Handshake)
}
