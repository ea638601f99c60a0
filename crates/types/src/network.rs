//! Network addresses: inet, cidr, macaddr and macaddr8. Documentation, section 9.12, and PostgreSQL's `network.c` for what it
//! leaves open.
//!
//! inet and cidr have one representation, an address and the length of its network prefix, and one order: by family,
//! then by network, then by prefix length, then by the bits behind it. A cidr has no bit set behind its prefix.

use std::cmp::Ordering;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::error::{SqlError, SqlResult, SqlState, raise};

/// An address of either family with the length of its network prefix. The address of an IPv4 stands in the first four
/// bytes, the others are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Inet {
    is_v6: bool,
    prefix: u8,
    address: [u8; 16],
}

impl Inet {
    #[must_use]
    pub fn v4(address: Ipv4Addr, prefix: u8) -> Self {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&address.octets());
        Self { is_v6: false, prefix, address: bytes }
    }

    #[must_use]
    pub fn v6(address: Ipv6Addr, prefix: u8) -> Self {
        Self { is_v6: true, prefix, address: address.octets() }
    }

    /// From the 4 or 16 bytes of an address; none for another count or a prefix that is too long.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], prefix: u8) -> Option<Self> {
        let mut address = [0; 16];
        address.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let is_v6 = match bytes.len() {
            4 => false,
            16 => true,
            _ => return None,
        };
        let made = Self { is_v6, prefix, address };
        (prefix <= made.width()).then_some(made)
    }

    #[must_use]
    pub const fn is_v6(&self) -> bool {
        self.is_v6
    }

    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The address's bits: 32 or 128.
    #[must_use]
    pub const fn width(&self) -> u8 {
        if self.is_v6 { 128 } else { 32 }
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.address[..usize::from(self.width() / 8)]
    }

    /// The address as a number.
    #[must_use]
    pub fn number(&self) -> u128 {
        u128::from_be_bytes(self.address) >> (128 - self.width())
    }

    /// The same family and prefix with another address, whose upper bits beyond the family's width must be zero.
    #[must_use]
    pub fn with_number(self, number: u128) -> Self {
        Self { address: (number << (128 - self.width())).to_be_bytes(), ..self }
    }

    #[must_use]
    pub const fn with_prefix(self, prefix: u8) -> Self {
        Self { prefix, ..self }
    }

    /// Ones where the network prefix is.
    #[must_use]
    pub fn netmask(&self) -> u128 {
        let all = if self.is_v6 { u128::MAX } else { u128::from(u32::MAX) };
        all & !self.hostmask()
    }

    /// Ones behind the network prefix.
    #[must_use]
    pub fn hostmask(&self) -> u128 {
        match self.width() - self.prefix {
            128 => u128::MAX,
            count => (1 << count) - 1,
        }
    }

    /// The address with the bits behind the prefix cleared.
    #[must_use]
    pub fn network(self) -> Self {
        self.with_number(self.number() & self.netmask())
    }

    /// Whether `other`'s address is in this network, when its prefix is at least as long.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.is_v6 == other.is_v6
            && self.prefix <= other.prefix
            && self.number() & self.netmask() == other.number() & self.netmask()
    }

    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other) || other.contains(self)
    }

    /// The address alone.
    #[must_use]
    pub fn host(&self) -> String {
        if !self.is_v6 {
            let [a, b, c, d, ..] = self.address;
            return format!("{a}.{b}.{c}.{d}");
        }
        let words: [u16; 8] = std::array::from_fn(|i| u16::from_be_bytes([self.address[2 * i], self.address[2 * i + 1]]));
        // The first of the longest runs of at least two zeros is left out.
        let (mut run_at, mut run_length) = (8, 1);
        let mut at = 0;
        while at < 8 {
            let length = words[at..].iter().take_while(|word| **word == 0).count();
            if length > run_length {
                (run_at, run_length) = (at, length);
            }
            at += length.max(1);
        }
        let holds_v4 = run_at == 0 && (run_length == 6 || run_length == 5 && words[5] == 0xffff);
        let mut out = String::new();
        let mut at = 0;
        while at < 8 {
            if at == run_at {
                out.push_str("::");
                at += run_length;
                continue;
            }
            if !out.is_empty() && !out.ends_with(':') {
                out.push(':');
            }
            if at == 6 && holds_v4 {
                let [a, b, c, d] = [12, 13, 14, 15].map(|i| self.address[i]);
                out.push_str(&format!("{a}.{b}.{c}.{d}"));
                break;
            }
            out.push_str(&format!("{:x}", words[at]));
            at += 1;
        }
        out
    }

    /// Address and prefix length, as `text(inet)` and the output of a cidr.
    #[must_use]
    pub fn with_length(&self) -> String {
        format!("{}/{}", self.host(), self.prefix)
    }

    /// The output of an inet: without the length where it is the whole address.
    #[must_use]
    pub fn shown(&self) -> String {
        if self.prefix == self.width() { self.host() } else { self.with_length() }
    }

    /// `abbrev(cidr)`: an IPv4 network without the bytes behind its prefix.
    #[must_use]
    pub fn abbreviated_network(&self) -> String {
        if self.is_v6 {
            return self.with_length();
        }
        let count = usize::from(self.prefix.div_ceil(8)).max(1);
        let parts: Vec<String> = self.address[..count].iter().map(u8::to_string).collect();
        format!("{}/{}", parts.join("."), self.prefix)
    }
}

/// *order-agrees*: a network sorts before what it contains, and keys are encoded by the same three steps.
impl Ord for Inet {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = |inet: &Self| (inet.is_v6, inet.network().number(), inet.prefix, inet.number());
        order(self).cmp(&order(other))
    }
}

impl PartialOrd for Inet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn digits(text: &str, most: u32) -> Option<u32> {
    let is_number = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|value| is_number && *value <= most)
}

/// The bytes that were written, at most four, filled with zeros.
fn parse_octets(text: &str) -> Option<([u8; 4], usize)> {
    let mut octets = [0; 4];
    let mut count = 0;
    for part in text.split('.') {
        *octets.get_mut(count)? = digits(part, 255)? as u8;
        count += 1;
    }
    Some((octets, count))
}

fn parse_v4(text: &str, is_cidr: bool) -> Option<Inet> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(digits(length, 32)? as u8)),
        None => (text, None),
    };
    let (octets, count) = parse_octets(address)?;
    let prefix = match length {
        // A prefix longer than what was written is one of a network alone.
        Some(length) if !is_cidr && usize::from(length / 8) > count => return None,
        Some(length) => length,
        None if !is_cidr => (count == 4).then_some(32)?,
        // The classes of old, widened to what was written.
        None => {
            let class = match octets[0] {
                240.. => 32,
                224.. => 8,
                192.. => 24,
                128.. => 16,
                _ => 8,
            };
            let class = class.max(count as u8 * 8);
            if class == 8 && octets[0] == 224 { 4 } else { class }
        }
    };
    Some(Inet::v4(Ipv4Addr::from(octets), prefix))
}

fn parse_v6(text: &str) -> Option<Inet> {
    let (address, prefix) = match text.split_once('/') {
        Some((_, length)) if length.len() > 1 && length.starts_with('0') => return None,
        Some((address, length)) => (address, digits(length, 128)? as u8),
        None => (text, 128),
    };
    Some(Inet::v6(address.parse().ok()?, prefix))
}

/// The input functions of inet and cidr.
pub fn parse_inet(input: &str, is_cidr: bool) -> SqlResult<Inet> {
    let name = if is_cidr { "cidr" } else { "inet" };
    let parsed = if input.contains(':') { parse_v6(input) } else { parse_v4(input, is_cidr) };
    let inet = parsed.ok_or_else(|| raise::invalid_syntax(name, input))?;
    if is_cidr && inet != inet.network() {
        return Err(SqlError::new(SqlState::InvalidTextRepresentation, format!("invalid cidr value: \"{input}\""))
            .with_detail("Value has bits set to right of mask."));
    }
    Ok(inet)
}

const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 3;

/// Family, prefix length, whether it is a cidr, count of bytes, bytes.
pub(crate) fn write_binary_inet(inet: &Inet, is_cidr: bool, out: &mut Vec<u8>) {
    let bytes = inet.bytes();
    let family = if inet.is_v6 { FAMILY_V6 } else { FAMILY_V4 };
    out.extend_from_slice(&[family, inet.prefix, u8::from(is_cidr), bytes.len() as u8]);
    out.extend_from_slice(bytes);
}

pub(crate) fn parse_binary_inet(input: &[u8], is_cidr: bool) -> SqlResult<Inet> {
    let name = if is_cidr { "cidr" } else { "inet" };
    let refused = |what: &str| {
        SqlError::new(SqlState::InvalidBinaryRepresentation, format!("invalid {what} in external \"{name}\" value"))
    };
    let [family, prefix, _, count, bytes @ ..] = input else { return Err(refused("length")) };
    if !matches!(*family, FAMILY_V4 | FAMILY_V6) {
        return Err(refused("address family"));
    }
    let width = if *family == FAMILY_V6 { 16 } else { 4 };
    if bytes.len() != width || usize::from(*count) != width {
        return Err(refused("length"));
    }
    let inet = Inet::from_bytes(bytes, *prefix).ok_or_else(|| refused("bits"))?;
    if is_cidr && inet != inet.network() {
        return Err(refused("value").with_detail("Value has bits set to right of mask."));
    }
    Ok(inet)
}

/// Six bytes in hexadecimal: each apart with `:` or `-`, halves apart, in pairs with `.` or `-`, or all in one.
pub fn parse_macaddr(input: &str) -> SqlResult<[u8; 6]> {
    let invalid = || raise::invalid_syntax("macaddr", input);
    let text = input.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let is_hex = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    for separator in [':', '-'] {
        let parts: Vec<&str> = text.split(separator).collect();
        if parts.len() == 6 && parts.iter().all(is_hex) {
            let mut bytes = [0; 6];
            for (byte, part) in bytes.iter_mut().zip(&parts) {
                *byte = u8::from_str_radix(part, 16).map_err(|_| {
                    let message = format!("invalid octet value in \"macaddr\" value: \"{input}\"");
                    SqlError::new(SqlState::NumericValueOutOfRange, message)
                })?;
            }
            return Ok(bytes);
        }
    }
    let groups: Vec<&str> = text.split([':', '-', '.']).collect();
    let separators: Vec<char> = text.chars().filter(|c| matches!(c, ':' | '-' | '.')).collect();
    let whole = match (groups.as_slice(), separators.as_slice()) {
        ([one], []) => one.len() == 12,
        ([a, b], [':' | '-']) => a.len() == 6 && b.len() == 6,
        ([a, b, c], ['.', '.'] | ['-', '-']) => a.len() == 4 && b.len() == 4 && c.len() == 4,
        _ => false,
    };
    if !whole || !groups.iter().all(is_hex) {
        return Err(invalid());
    }
    let number = u64::from_str_radix(&groups.concat(), 16).map_err(|_| invalid())?;
    Ok(number.to_be_bytes()[2..].try_into().expect("the last six of eight bytes"))
}

#[must_use]
pub fn show_macaddr(bytes: &[u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// Six or eight bytes of two hexadecimal digits, with one kind of separator between some of them. Six are the halves of an
/// EUI-64 around `ff:fe`.
///
/// # Errors
/// 22P02.
pub fn parse_macaddr8(input: &str) -> SqlResult<[u8; 8]> {
    let invalid = || raise::invalid_syntax("macaddr8", input);
    let mut rest = input.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b').as_bytes();
    let mut bytes = Vec::with_capacity(8);
    let mut separator = None;
    while let [high, low, tail @ ..] = rest {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let (high, low) = digit(*high).zip(digit(*low)).ok_or_else(invalid)?;
        bytes.push(high << 4 | low);
        rest = tail;
        if let [found @ (b':' | b'-' | b'.'), tail @ ..] = rest {
            if *separator.get_or_insert(*found) != *found {
                return Err(invalid());
            }
            rest = tail;
        }
    }
    match bytes[..] {
        _ if !rest.is_empty() => Err(invalid()),
        [a, b, c, d, e, f] => Ok([a, b, c, 0xff, 0xfe, d, e, f]),
        [a, b, c, d, e, f, g, h] => Ok([a, b, c, d, e, f, g, h]),
        _ => Err(invalid()),
    }
}

#[must_use]
pub fn show_macaddr8(bytes: &[u8; 8]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// The address of six bytes that one of eight was made of.
///
/// # Errors
/// 22003 when it was not.
pub fn shorten_macaddr8(bytes: &[u8; 8]) -> SqlResult<[u8; 6]> {
    let [a, b, c, 0xff, 0xfe, d, e, f] = *bytes else {
        let message = "macaddr8 data out of range to convert to macaddr";
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, message).with_hint(
            "Only addresses that have FF and FE as values in the 4th and 5th bytes from the left, for example \
             xx:xx:xx:ff:fe:xx:xx:xx, are eligible to be converted from macaddr8 to macaddr.",
        ));
    };
    Ok([a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_in_both_formats() {
        for text in [
            "0.0.0.0/0", "10.1.2.3", "10.1.2.3/8", "::", "::1", "::/0", "1::/16", "2001:db8::1:0:0:1", "::1.2.3.4",
            "::ffff:255.240.0.201", "1:2:3:4:5:6:102:304", "0:ff:ffff:ffff:ffff:ffff:ffff:ffff/24", "::2", "::ffff:0.0.0.1",
        ] {
            let inet = parse_inet(text, false).unwrap();
            assert_eq!(inet.shown(), text);
            let mut wire = Vec::new();
            write_binary_inet(&inet, false, &mut wire);
            assert_eq!(parse_binary_inet(&wire, false), Ok(inet), "{text}");
            assert!(parse_binary_inet(&wire[1..], false).is_err(), "{text}");
        }
    }

    #[test]
    fn prefixes_shorten_what_is_compared_first() {
        let sorted = ["9.1.2.3/8", "10.0.0.0/8", "10.1.2.3/8", "10.0.0.0", "10.1.0.0/16", "10.1.2.3", "::1"];
        let values = sorted.map(|text| parse_inet(text, false).unwrap());
        assert!(values.is_sorted(), "order-agrees: {values:?}");
    }
}
