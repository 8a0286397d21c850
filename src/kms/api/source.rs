//! Where requests come from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One place of the network, as limits count it: an address of IPv4, or a /64 of IPv6, whose addresses one host can have
/// all of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    V4(Ipv4Addr),
    /// The first address of the /64.
    V6(Ipv6Addr),
    /// All that are not counted one by one.
    Others,
}

impl Source {
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                Self::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => write!(f, "{address}"),
            Self::V6(first) => write!(f, "{first}/64"),
            Self::Others => f.write_str("others"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(address: &str) -> String {
        Source::of(address.parse().unwrap()).to_string()
    }

    #[test]
    fn addresses_of_one_place_are_one_source() {
        assert_eq!(shown("192.0.2.7"), "192.0.2.7");
        assert_eq!(shown("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(shown("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(shown("2001:db8:1:2:ffff::"), "2001:db8:1:2::/64");
        assert_eq!(shown("2001:db8:1:3::1"), "2001:db8:1:3::/64");
        assert_eq!(shown("::1"), "::/64");
        assert_ne!(Source::of("::1".parse().unwrap()), Source::Others);
    }
}
