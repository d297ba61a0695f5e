//! One connection to a host, whichever of its addresses takes it.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    thread,
    time::Duration,
};

use tokio::{net::TcpStream, sync::oneshot, time::timeout};

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
    let mut is_refused = false;
    for peer in addresses {
        match timeout(limit, TcpStream::connect(peer)).await {
            Ok(Ok(stream)) => {
                // only latency is lost where this fails
                let _ = stream.set_nodelay(true);
                tracing::debug!(%address, %peer, "connected");
                return Ok(stream);
            }
            Ok(Err(cause)) => {
                is_refused |= cause.kind() == io::ErrorKind::ConnectionRefused;
                causes.push((peer, cause_text(&cause)));
            }
            Err(_) => causes.push((peer, format!("no answer within {limit:?}"))),
        }
    }
    let causes = list_causes(&address, &causes);
    Err(ClientError::Connect {
        address,
        causes,
        is_refused,
    })
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
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = match timeout(limit, look_up(host.to_owned(), port)?).await {
        Ok(Ok(found)) => found?,
        Ok(Err(_)) => return Err(io::Error::other("the thread that looks it up has ended")),
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

/// Asks the system, which may take long, on a thread of its own: tokio's would panic where there is none to be had.
fn look_up(host: String, port: u16) -> io::Result<oneshot::Receiver<io::Result<Vec<SocketAddr>>>> {
    let (answer, answered) = oneshot::channel();
    thread::Builder::new().name("resolver".to_owned()).spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs();
        // the caller may have reached its time limit
        let _ = answer.send(found.map(Iterator::collect));
    })?;
    Ok(answered)
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
