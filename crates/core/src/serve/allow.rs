//! Who may ask: addresses and networks in CIDR notation. The protocol has no authentication of its own.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A network, such as `10.0.0.0/8`, `fd00::/8` or `192.168.1.34`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

/// Not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The part before the slash.
    #[error("{0:?} is not an IP address")]
    Address(String),
    /// The part behind it.
    #[error("{0:?} is not a prefix length (0 to {1})")]
    Bits(String, u32),
    /// An address inside a network, which could mean either.
    #[error("{given} has bits set after its prefix: {network} is the network, {address}/{width} the address")]
    Ambiguous {
        /// As given.
        given: String,
        /// The network it lies in.
        network: String,
        /// The address.
        address: IpAddr,
        /// Bits of an address.
        width: u32,
    },
}

impl Network {
    /// Whether the address lies in it. An IPv4 address that came in through an IPv6 socket is an IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ours, theirs) = (bits(self.address), bits(address.to_canonical()));
        ours.1 == theirs.1 && masked(ours.0, ours.1, self.bits) == masked(theirs.0, theirs.1, self.bits)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address(address.to_owned()))?;
        let (value, width) = bits(address);
        let bits = match length {
            None => width,
            Some(length) => {
                let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
                let number = digits.then(|| length.parse().ok()).flatten();
                number
                    .filter(|bits| *bits <= width)
                    .ok_or_else(|| NetworkError::Bits(length.to_owned(), width))?
            }
        };
        let network = masked(value, width, bits);
        if network != value {
            let network = match address {
                IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(network).unwrap_or_default()).to_string(),
                IpAddr::V6(_) => Ipv6Addr::from_bits(network).to_string(),
            };
            return Err(NetworkError::Ambiguous {
                given: text.to_owned(),
                network: format!("{network}/{bits}"),
                address,
                width,
            });
        }
        Ok(Network { address, bits })
    }
}

/// An address as a number, and its width.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (address.to_bits().into(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// The first `bits` of a number `width` bits wide.
fn masked(value: u128, width: u32, bits: u32) -> u128 {
    let dropped = width.saturating_sub(bits);
    value
        .checked_shr(dropped)
        .unwrap_or(0)
        .checked_shl(dropped)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn addresses_are_in_their_networks() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.168.1.34", "192.168.1.34", "192.168.1.35"),
            ("192.168.1.32/27", "192.168.1.63", "192.168.1.64"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::1", "::1", "::2"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "1::", "10.0.0.1"),
        ] {
            assert!(contains(network, inside), "{inside} is in {network}");
            assert!(!contains(network, outside), "{outside} is not in {network}");
        }
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
    }

    #[test]
    fn what_is_no_network_is_refused_with_its_reason() {
        let error = |text: &str| text.parse::<Network>().unwrap_err().to_string();
        assert!(error("host").contains("not an IP address"));
        assert!(error("").contains("not an IP address"));
        for bits in ["33", "", "+8", "-1", "x"] {
            assert!(error(&format!("10.0.0.0/{bits}")).contains("prefix length"), "{bits}");
        }
        assert!(error("::/129").contains("(0 to 128)"));
        assert_eq!(
            error("192.168.1.34/24"),
            "192.168.1.34/24 has bits set after its prefix: 192.168.1.0/24 is the network, 192.168.1.34/32 the address"
        );
    }
}
