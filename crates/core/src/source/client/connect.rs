//! One connection to a host, whichever of its addresses takes it.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::ClientError;

/// `host:port` as it is shown; IPv6 in brackets.
pub(super) fn address(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Connects to the first address that takes the connection within `limit`; the error names the cause of each.
pub(crate) async fn connect(host: &str, port: u16, limit: Duration) -> Result<TcpStream, ClientError> {
    let address = address(host, port);
    let addresses = resolve(host, port, limit).await;
    let addresses = addresses.map_err(|source| ClientError::Resolve {
        address: address.clone(),
        source,
    })?;
    let mut causes = Vec::new();
    for peer in addresses {
        match timeout(limit, TcpStream::connect(peer)).await {
            Ok(Ok(stream)) => {
                // only latency is lost where this fails
                let _ = stream.set_nodelay(true);
                tracing::debug!(%address, %peer, "connected");
                return Ok(stream);
            }
            Ok(Err(cause)) => causes.push(format!("{peer}: {cause}")),
            Err(_) => causes.push(format!("{peer}: no answer within {limit:?}")),
        }
    }
    let causes = causes.join("; ");
    Err(ClientError::Connect { address, causes })
}

async fn resolve(host: &str, port: u16, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    // the brackets of an IPv6 address belong to the URI
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let found = timeout(limit, lookup_host((host, port))).await;
    let found: Vec<SocketAddr> = match found {
        Ok(found) => found?.collect(),
        Err(_) => {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {limit:?}"),
            ));
        }
    };
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    }
    Ok(found)
}
