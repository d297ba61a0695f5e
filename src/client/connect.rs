//! One connection to a host, whichever of its addresses takes it.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::ClientError;

/// `host:port` as it is shown; IPv6 in brackets.
pub(super) fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Connects to the first address that takes the connection within `limit`; the error names the cause of each.
pub(super) async fn connect(host: &str, port: u16, limit: Duration) -> Result<TcpStream, ClientError> {
    let address = address(host, port);
    let addresses: Vec<SocketAddr> = match timeout(limit, lookup_host((host, port))).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(source)) => return Err(ClientError::Resolve { address, source }),
        Err(_) => {
            let source = std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within {limit:?}"));
            return Err(ClientError::Resolve { address, source });
        }
    };
    let mut causes = Vec::new();
    for peer in addresses {
        match timeout(limit, TcpStream::connect(peer)).await {
            Ok(Ok(stream)) => {
                // only latency is lost where this fails
                let _ = stream.set_nodelay(true);
                tracing::debug!(%peer, "connected");
                return Ok(stream);
            }
            Ok(Err(cause)) => causes.push(format!("{peer}: {cause}")),
            Err(_) => causes.push(format!("{peer}: no answer within {limit:?}")),
        }
    }
    Err(ClientError::Connect { address, causes: causes.join("; ") })
}
