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
            Ok(Err(cause)) => causes.push((peer, cause_text(&cause))),
            Err(_) => causes.push((peer, format!("no answer within {limit:?}"))),
        }
    }
    let causes = list_causes(&address, &causes);
    Err(ClientError::Connect { address, causes })
}

/// The system's text in lower case and without its number.
fn cause_text(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => cause.to_string(),
    }
}

/// Each cause, after its address where that is not the one the message already has.
fn list_causes(address: &str, causes: &[(SocketAddr, String)]) -> String {
    let causes = causes.iter().map(|(peer, cause)| {
        let peer = peer.to_string();
        if peer == address {
            cause.clone()
        } else {
            format!("{peer}: {cause}")
        }
    });
    causes.collect::<Vec<_>>().join("; ")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refused_connection_names_its_address_once() {
        let error = connect("127.0.0.1", 1, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot connect to 127.0.0.1:1: connection refused");
    }

    #[test]
    fn addresses_of_a_name_are_listed() {
        let causes = [("10.0.0.1:6362".parse().unwrap(), "connection refused".to_owned())];
        assert_eq!(list_causes("db:6362", &causes), "10.0.0.1:6362: connection refused");
    }
}
