//! Who may connect from where, and how they have to show who they are: `pg_hba.conf` in PostgreSQL's grammar.
//!
//! ```text
//!  TYPE     DATABASE  USER      ADDRESS       METHOD             OPTIONS
//!  hostssl  all       all       10.0.0.0/8    scram-sha-256      clientcert=verify-full
//!  host     all       postgres  127.0.0.1/32  trust
//! ```
//! The first rule that fits a connection decides; where none fits, nobody gets in.
//!
//! Rules that would need what is not there (files that are included, names of hosts, networks of this host,
//! methods other than [`Method`]'s) are refused when they are set, not passed over.

use std::net::IpAddr;

/// What a cluster begins with, on a node that has certificates.
pub const WITH_CERTIFICATES: &str = "local all all peer\nhostssl all all all cert-scram-sha-256\n";
/// The same on a node that has none: it serves its own machine only, or was told not to ask.
pub const WITHOUT_CERTIFICATES: &str = "local all all peer\nhost all all all trust\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A Unix socket.
    Local,
    Host,
    HostSsl,
    HostNoSsl,
    /// Any connection, as none is encrypted by GSSAPI.
    HostNoGss,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Trust,
    Reject,
    /// Written `scram-sha-256`, or `md5`, which asks the same of roles with SCRAM verifiers.
    Scram { is_md5: bool },
    Cert,
    /// The user of the operating system that the client runs as, of a Unix socket.
    Peer,
    /// CockroachDB's: the certificate where the client shows one, otherwise the password.
    CertOrScram,
}

impl Method {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Reject => "reject",
            Self::Scram { is_md5: false } => "scram-sha-256",
            Self::Scram { is_md5: true } => "md5",
            Self::Cert => "cert",
            Self::Peer => "peer",
            Self::CertOrScram => "cert-scram-sha-256",
        }
    }
}

/// What the client's certificate must be in addition to what the method asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCert {
    NotNeeded,
    /// Signed by the cluster's CA.
    VerifyCa,
    /// And of the role.
    VerifyFull,
}

/// A word, which means only itself when it is quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    is_quoted: bool,
}

impl Word {
    fn is_keyword(&self, keyword: &str) -> bool {
        !self.is_quoted && self.text == keyword
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    /// There is none: a Unix socket.
    None,
    All,
    SameHost,
    /// An address and how many of its bits count.
    Network(IpAddr, u8),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// From 1.
    pub line: usize,
    pub transport: Transport,
    databases: Vec<Word>,
    users: Vec<Word>,
    address: Address,
    pub method: Method,
    pub client_cert: ClientCert,
    /// Of names of users: [`crate::ident`].
    pub map: Option<String>,
}

/// A connection as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Connecting<'a> {
    pub database: &'a str,
    pub user: &'a str,
    /// None for a Unix socket.
    pub from: Option<IpAddr>,
    /// The address it has come to, where it has come from one.
    pub to: IpAddr,
    pub is_encrypted: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

/// The first line that is no rule, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct HbaError {
    pub line: usize,
    pub reason: String,
}

impl Rules {
    /// # Errors
    /// The first line that is no rule.
    pub fn parse(text: &str) -> Result<Self, HbaError> {
        let mut rules = Vec::new();
        for (line, text) in logical_lines(text) {
            let refused = |reason| HbaError { line, reason };
            let fields = fields(&text).map_err(refused)?;
            if !fields.is_empty() {
                rules.push(rule(line, &fields).map_err(refused)?);
            }
        }
        Ok(Self(rules))
    }

    /// The rule that decides; none refuses.
    #[must_use]
    pub fn find(&self, connecting: &Connecting<'_>) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.fits(connecting))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }
}

impl Rule {
    fn fits(&self, connecting: &Connecting<'_>) -> bool {
        let transport = match self.transport {
            Transport::Local => connecting.from.is_none(),
            Transport::Host | Transport::HostNoGss => connecting.from.is_some(),
            Transport::HostSsl => connecting.from.is_some() && connecting.is_encrypted,
            Transport::HostNoSsl => connecting.from.is_some() && !connecting.is_encrypted,
        };
        transport
            && connecting.from.is_none_or(|from| self.address.holds(from, connecting.to))
            && self.databases.iter().any(|word| is_database(word, connecting))
            && self.users.iter().any(|word| is_user(word, connecting.user))
    }

    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.transport {
            Transport::Local => "local",
            Transport::Host => "host",
            Transport::HostSsl => "hostssl",
            Transport::HostNoSsl => "hostnossl",
            Transport::HostNoGss => "hostnogssenc",
        }
    }

    pub fn databases(&self) -> impl Iterator<Item = &str> {
        self.databases.iter().map(|word| word.text.as_str())
    }

    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.iter().map(|word| word.text.as_str())
    }

    /// The address and its mask, as `pg_hba_file_rules` shows them.
    #[must_use]
    pub fn address(&self) -> (Option<String>, Option<String>) {
        match self.address {
            Address::None => (None, None),
            Address::All => (Some("all".into()), None),
            Address::SameHost => (Some("samehost".into()), None),
            Address::Network(address, bits) => {
                let mask = match address {
                    IpAddr::V4(_) => IpAddr::V4((u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)).into()),
                    IpAddr::V6(_) => IpAddr::V6((u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)).into()),
                };
                (Some(address.to_string()), Some(mask.to_string()))
            }
        }
    }

    /// As they are written.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        let client_cert = match self.client_cert {
            ClientCert::NotNeeded => None,
            ClientCert::VerifyCa => Some("clientcert=verify-ca".to_owned()),
            ClientCert::VerifyFull => Some("clientcert=verify-full".to_owned()),
        };
        self.map.iter().map(|map| format!("map={map}")).chain(client_cert).collect()
    }
}

fn is_database(word: &Word, connecting: &Connecting<'_>) -> bool {
    match () {
        () if word.is_keyword("all") => true,
        // No role is a member of another.
        () if word.is_keyword("sameuser") || word.is_keyword("samerole") || word.is_keyword("samegroup") => {
            connecting.database == connecting.user
        }
        () if word.is_keyword("replication") => false,
        () => word.text == connecting.database,
    }
}

fn is_user(word: &Word, user: &str) -> bool {
    match word.text.strip_prefix('+').filter(|_| !word.is_quoted) {
        // A role and its members, of which there are none.
        Some(role) => role == user,
        None => word.is_keyword("all") || word.text == user,
    }
}

impl Address {
    fn holds(self, from: IpAddr, to: IpAddr) -> bool {
        let from = from.to_canonical();
        match self {
            Self::None => false,
            Self::All => true,
            Self::SameHost => from.is_loopback() || from == to.to_canonical(),
            Self::Network(network, bits) => match (network, from) {
                (IpAddr::V4(network), IpAddr::V4(from)) => {
                    (u32::from(network) ^ u32::from(from)).checked_shr(32 - u32::from(bits)).unwrap_or(0) == 0
                }
                (IpAddr::V6(network), IpAddr::V6(from)) => {
                    (u128::from(network) ^ u128::from(from)).checked_shr(128 - u32::from(bits)).unwrap_or(0) == 0
                }
                _ => false,
            },
        }
    }
}

/// Lines with their numbers, from 1. A backslash at its end joins a line with the next.
pub(crate) fn logical_lines(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut lines = text.lines().enumerate();
    std::iter::from_fn(move || {
        let (at, line) = lines.next()?;
        let mut line = line.to_owned();
        while line.ends_with('\\') {
            line.pop();
            let Some((_, next)) = lines.next() else { break };
            line.push_str(next);
        }
        Some((at + 1, line))
    })
}

/// Fields of a line, each one or more words between commas.
pub(crate) fn fields(line: &str) -> Result<Vec<Vec<Word>>, String> {
    let mut fields: Vec<Vec<Word>> = Vec::new();
    let mut chars = line.chars().peekable();
    let mut is_continued = false;
    loop {
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        match chars.peek() {
            None | Some('#') => return Ok(fields),
            Some(',') => {
                chars.next();
                is_continued = true;
                continue;
            }
            Some(_) => {}
        }
        let mut word = Word { text: String::new(), is_quoted: false };
        let mut in_quotes = false;
        while let Some(c) = chars.peek().copied() {
            match c {
                '"' => {
                    word.is_quoted |= word.text.is_empty();
                    in_quotes = !in_quotes;
                    chars.next();
                    // Two of them are one.
                    if !in_quotes && chars.next_if_eq(&'"').is_some() {
                        word.text.push('"');
                        in_quotes = true;
                    }
                    continue;
                }
                _ if in_quotes => {}
                ',' | '#' => break,
                c if c.is_ascii_whitespace() => break,
                _ => {}
            }
            word.text.push(c);
            chars.next();
        }
        if in_quotes {
            return Err("unterminated quoted string".into());
        }
        if !word.is_quoted && word.text.starts_with('@') {
            return Err(format!("files cannot be included: \"{}\"", word.text));
        }
        match fields.last_mut().filter(|_| is_continued) {
            Some(last) => last.push(word),
            None => fields.push(vec![word]),
        }
        is_continued = chars.peek() == Some(&',');
    }
}

/// The next field, which may have one word only.
fn single(fields: &mut std::slice::Iter<'_, Vec<Word>>, what: &str, missing: &str) -> Result<String, String> {
    match fields.next().map(Vec::as_slice) {
        None => Err(missing.to_owned()),
        Some([word]) => Ok(word.text.clone()),
        Some(_) => Err(format!("multiple values specified for {what}")),
    }
}

fn rule(line: usize, fields: &[Vec<Word>]) -> Result<Rule, String> {
    let mut fields = fields.iter();
    let transport = match single(&mut fields, "connection type", "end-of-line before connection type")?.as_str() {
        "local" => Transport::Local,
        "host" => Transport::Host,
        "hostssl" => Transport::HostSsl,
        "hostnossl" => Transport::HostNoSsl,
        "hostnogssenc" => Transport::HostNoGss,
        "hostgssenc" => {
            return Err("hostgssenc record cannot match because GSSAPI is not supported by this build".into());
        }
        other => return Err(format!("invalid connection type \"{other}\"")),
    };
    let databases = fields.next().ok_or("end-of-line before database specification")?.clone();
    let users = fields.next().ok_or("end-of-line before role specification")?.clone();
    let address = match transport {
        Transport::Local => Address::None,
        _ => match single(&mut fields, "host address", "end-of-line before IP address specification")?.as_str() {
            "all" => Address::All,
            "samehost" => Address::SameHost,
            "samenet" => return Err("the networks of this host are not known: give them by address".into()),
            text => match text.split_once('/') {
                Some((address, bits)) => network(text, address, bits)?,
                None => {
                    let address = ip(text)?;
                    let mask = single(&mut fields, "netmask", "end-of-line before netmask specification")?;
                    masked(address, &mask)?
                }
            },
        },
    };
    let name = single(&mut fields, "authentication type", "end-of-line before authentication method")?;
    let method = method(&name)?;
    let (mut client_cert, mut map) = (ClientCert::NotNeeded, None);
    if method == Method::Cert {
        if transport != Transport::HostSsl {
            return Err("cert authentication is only supported on hostssl connections".into());
        }
        client_cert = ClientCert::VerifyFull;
    }
    if method == Method::Peer && transport != Transport::Local {
        return Err("peer authentication is only supported on local sockets".into());
    }
    for word in fields.flatten() {
        let (name, value) = word
            .text
            .split_once('=')
            .ok_or_else(|| format!("authentication option not in name=value format: {}", word.text))?;
        match name {
            "clientcert" if transport != Transport::HostSsl => {
                return Err("clientcert can only be configured for \"hostssl\" rows".into());
            }
            "clientcert" => match value {
                "verify-full" => client_cert = ClientCert::VerifyFull,
                "verify-ca" if method == Method::Cert => {
                    return Err("clientcert only accepts \"verify-full\" when using \"cert\" authentication".into());
                }
                "verify-ca" => client_cert = ClientCert::VerifyCa,
                other => return Err(format!("invalid value for clientcert: \"{other}\"")),
            },
            "clientname" if value == "CN" => {}
            "clientname" => return Err(format!("invalid value for clientname: \"{value}\"")),
            "map" => match method {
                Method::Peer | Method::Cert | Method::CertOrScram => map = Some(value.to_owned()),
                Method::Trust | Method::Reject | Method::Scram { .. } => {
                    return Err("authentication option \"map\" is only valid for authentication methods ident, peer, \
                                gssapi, sspi, and cert"
                        .into());
                }
            },
            other => return Err(format!("unrecognized authentication option name: \"{other}\"")),
        }
    }
    Ok(Rule { line, transport, databases, users, address, method, client_cert, map })
}

fn method(name: &str) -> Result<Method, String> {
    Ok(match name {
        "trust" => Method::Trust,
        "reject" => Method::Reject,
        "scram-sha-256" => Method::Scram { is_md5: false },
        "md5" => Method::Scram { is_md5: true },
        "cert" => Method::Cert,
        "peer" => Method::Peer,
        "cert-scram-sha-256" => Method::CertOrScram,
        "password" | "ident" | "gss" | "sspi" | "pam" | "bsd" | "ldap" | "radius" => {
            return Err(format!("invalid authentication method \"{name}\": not supported by this build"));
        }
        other => return Err(format!("invalid authentication method \"{other}\"")),
    })
}

fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        let is_name = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '.') && !text.contains(':');
        match is_name {
            true => format!("names of hosts are not looked up, give an address: \"{text}\""),
            false => format!("invalid IP address \"{text}\""),
        }
    })
}

fn network(whole: &str, address: &str, bits: &str) -> Result<Address, String> {
    let address = ip(address)?;
    let max = if address.is_ipv4() { 32 } else { 128 };
    match bits.parse::<u8>() {
        Ok(bits) if bits <= max => Ok(Address::Network(address, bits)),
        _ => Err(format!("invalid CIDR mask in address \"{whole}\"")),
    }
}

fn masked(address: IpAddr, mask: &str) -> Result<Address, String> {
    let invalid = || format!("invalid IP mask \"{mask}\"");
    let (ones, is_plain) = match (address, mask.parse().map_err(|_| invalid())?) {
        (IpAddr::V4(_), IpAddr::V4(mask)) => {
            let mask = u32::from(mask);
            (mask.leading_ones(), mask.count_ones() == mask.leading_ones())
        }
        (IpAddr::V6(_), IpAddr::V6(mask)) => {
            let mask = u128::from(mask);
            (mask.leading_ones(), mask.count_ones() == mask.leading_ones())
        }
        _ => return Err("IP address and mask do not match".into()),
    };
    if !is_plain {
        return Err(invalid());
    }
    Ok(Address::Network(address, ones as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connecting<'a>(user: &'a str, database: &'a str, from: &str, is_encrypted: bool) -> Connecting<'a> {
        let to = "10.1.1.1".parse().unwrap();
        let from = (from != "socket").then(|| from.parse().unwrap());
        Connecting { database, user, from, to, is_encrypted }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = Rules::parse(
            "# TYPE DATABASE USER ADDRESS METHOD\n\
             hostnossl all all all reject # never in clear text\n\
             \n\
             hostssl \"all\" app 10.0.0.0/8 trust\n\
             hostssl shop,\"Odd one\" app, +ops 10.0.0.0 255.0.0.0 scram-sha-256 clientcert=verify-ca\n\
             hostssl sameuser all ::/0 cert map=staff\n\
             host all all \\\n  samehost md5\n\
             local all all trust\n",
        )
        .unwrap();
        let line = |user, database, from, tls| rules.find(&connecting(user, database, from, tls)).map(|rule| rule.line);
        assert_eq!(line("app", "shop", "10.2.3.4", false), Some(2));
        assert_eq!(line("app", "all", "10.2.3.4", true), Some(4), "quoted, it is a name");
        assert_eq!(line("app", "shop", "10.2.3.4", true), Some(5));
        assert_eq!(line("ops", "Odd one", "::ffff:10.2.3.4", true), Some(5), "an IPv4 address all the same");
        assert_eq!(line("app", "shop", "11.2.3.4", true), None, "nobody gets in where no rule fits");
        assert_eq!(line("app", "app", "fe80::1", true), Some(6));
        assert_eq!(line("any", "thing", "127.0.0.1", true), Some(7));
        assert_eq!(line("any", "thing", "10.1.1.1", true), Some(7));
        assert_eq!(line("app", "shop", "socket", false), Some(9), "a Unix socket is no host");
        let [.., scram, cert, md5, local] = &rules.iter().collect::<Vec<_>>()[..] else { panic!("rules") };
        assert_eq!(scram.databases().collect::<Vec<_>>(), ["shop", "Odd one"]);
        assert_eq!(scram.users().collect::<Vec<_>>(), ["app", "+ops"]);
        assert_eq!(scram.address(), (Some("10.0.0.0".into()), Some("255.0.0.0".into())));
        assert_eq!((scram.client_cert, cert.client_cert), (ClientCert::VerifyCa, ClientCert::VerifyFull));
        assert_eq!(cert.address(), (Some("::".into()), Some("::".into())));
        assert_eq!(cert.options(), ["map=staff", "clientcert=verify-full"]);
        assert_eq!((md5.method.name(), local.kind()), ("md5", "local"));
        for text in [WITH_CERTIFICATES, WITHOUT_CERTIFICATES] {
            assert_eq!(Rules::parse(text).unwrap().iter().count(), 2);
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        let refused = |text: &str| Rules::parse(text).unwrap_err().to_string();
        for (text, reason) in [
            ("hoste all all all trust", "invalid connection type \"hoste\""),
            ("host", "end-of-line before database specification"),
            ("host all", "end-of-line before role specification"),
            ("host all all", "end-of-line before IP address specification"),
            ("host all all 10.0.0.1", "end-of-line before netmask specification"),
            ("host all all 10.0.0.0/8", "end-of-line before authentication method"),
            ("host all all 10.0.0.0/33 trust", "invalid CIDR mask in address \"10.0.0.0/33\""),
            ("host all all 10.0.0.256/8 trust", "invalid IP address \"10.0.0.256\""),
            ("host all all 10.0.0.0 ::1 trust", "IP address and mask do not match"),
            ("host all all 10.0.0.0 255.0.255.0 trust", "invalid IP mask \"255.0.255.0\""),
            ("host all all db.example trust", "names of hosts are not looked up, give an address: \"db.example\""),
            ("host all all all nonsense", "invalid authentication method \"nonsense\""),
            ("host all all all ldap", "invalid authentication method \"ldap\": not supported by this build"),
            ("host all all all cert", "cert authentication is only supported on hostssl connections"),
            ("host all all all md5 clientcert=verify-ca", "clientcert can only be configured for \"hostssl\" rows"),
            ("host all all all md5 map", "authentication option not in name=value format: map"),
            ("hostssl all all all md5 x=y", "unrecognized authentication option name: \"x\""),
            ("host all @file all md5", "files cannot be included: \"@file\""),
            ("host all all all peer", "peer authentication is only supported on local sockets"),
            ("host,local all all all md5", "multiple values specified for connection type"),
            ("host \"all all all md5", "unterminated quoted string"),
        ] {
            assert_eq!(refused(&format!("\n{text}")), format!("line 2: {reason}"));
        }
    }
}
