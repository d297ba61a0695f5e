//! Which process is at the other end of a connection on the loopback interface.

use std::{fs, io, net::SocketAddrV4};

/// The sockets of this network namespace, one in a line: `sl local_address rem_address st … inode …` (`proc(5)`).
const SOCKETS: &str = "/proc/self/net/tcp";
/// What this process has open.
const OPEN_FILES: &str = "/proc/self/fd";

/// Whether this process holds the socket at `address` that is connected to `peer`.
///
/// # Errors
/// The system does not show it.
pub(crate) fn is_ours(address: SocketAddrV4, peer: SocketAddrV4) -> io::Result<bool> {
    let sockets = fs::read_to_string(SOCKETS)?;
    let Some(inode) = inode_of(&sockets, address, peer) else {
        return Ok(false);
    };
    let wanted = format!("socket:[{inode}]");
    for entry in fs::read_dir(OPEN_FILES)? {
        // files may be closed meanwhile
        if fs::read_link(entry?.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn inode_of(sockets: &str, address: SocketAddrV4, peer: SocketAddrV4) -> Option<&str> {
    let (address, peer) = (as_listed(address), as_listed(peer));
    sockets.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, remote, _, _, _, _, _, _, inode, ..] = fields.as_slice() else {
            return None;
        };
        (*local == address && *remote == peer).then_some(*inode)
    })
}

/// The address as a number of this machine's byte order, and the port.
fn as_listed(address: SocketAddrV4) -> String {
    let ip = u32::from_ne_bytes(address.ip().octets());
    format!("{ip:08X}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

    use super::*;

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        match address {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(_) => panic!("an IPv4 address is expected"),
        }
    }

    #[test]
    fn a_socket_of_this_process_is_found_and_a_closed_one_is_not() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = v4(listener.local_addr().unwrap());
        let stream = TcpStream::connect(server).unwrap();
        let client = v4(stream.local_addr().unwrap());
        let (accepted, _) = listener.accept().unwrap();
        assert!(is_ours(client, server).unwrap());
        drop(stream);
        assert!(!is_ours(client, server).unwrap());
        drop(accepted);
    }
}
