//! SCRAM-SHA-256 as PostgreSQL speaks it: RFC 5802 and 7677, with channel binding by `tls-server-end-point`.
//!
//! ```text
//!  client                                     server
//!    n,,n=,r=NONCE                 ──▶
//!                                  ◀──   r=NONCE+MORE,s=SALT,i=4096
//!    c=BINDING,r=NONCE+MORE,p=PROOF ──▶
//!                                  ◀──   v=SIGNATURE
//! ```
//! **Invariant (strangers-look-alike):** a role that does not exist or has no password is led through the same exchange
//! as any other, with a salt that stays the same, and fails at the same message.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// As PostgreSQL's.
pub const ITERATIONS: u32 = 4096;
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 18;
const KEY_BYTES: usize = 32;

pub const MECHANISM: &str = "SCRAM-SHA-256";
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";

type Key = [u8; KEY_BYTES];

fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// PBKDF2 of one block: RFC 5802's Hi().
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    let keyed = Hmac::<Sha256>::new_from_slice(password).expect("a key may have any length");
    let round = |input: &[&[u8]]| -> Key {
        let mut mac = keyed.clone();
        input.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    };
    let mut block = round(&[salt, &1_u32.to_be_bytes()]);
    let mut sum = block;
    for _ in 1..iterations {
        block = round(&[&block]);
        sum.iter_mut().zip(block).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

/// In a time that does not tell where they differ.
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |found, (a, b)| found | (a ^ b)) == 0
}

/// A password as it is hashed: by SASLprep, or as it is where that does not take it.
fn prepared(password: &str) -> std::borrow::Cow<'_, str> {
    stringprep::saslprep(password).unwrap_or(password.into())
}

/// What is kept of a password: `SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

impl Verifier {
    /// Of a password, with a salt drawn at random.
    #[must_use]
    pub fn new(password: &str) -> Self {
        Self::with_salt(password, &rand::random::<[u8; SALT_BYTES]>(), ITERATIONS)
    }

    fn with_salt(password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = salted_password(prepared(password).as_bytes(), salt, iterations);
        let stored_key = Sha256::digest(hmac(&salted, &[b"Client Key"])).into();
        Self { iterations, salt: salt.to_vec(), stored_key, server_key: hmac(&salted, &[b"Server Key"]) }
    }

    /// None for what is no verifier: a password in clear text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (head, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let key = |text: &str| BASE64_STANDARD.decode(text).ok()?.try_into().ok();
        let is_number = !iterations.is_empty() && iterations.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self {
            iterations: iterations.parse().ok().filter(|count| is_number && *count > 0)?,
            salt: BASE64_STANDARD.decode(salt).ok()?,
            stored_key: key(stored)?,
            server_key: key(server)?,
        })
    }

    /// Whether it is of this password.
    #[must_use]
    pub fn is_of(&self, password: &str) -> bool {
        let other = Self::with_salt(password, &self.salt, self.iterations);
        are_equal(&self.server_key, &other.server_key)
    }

    /// What a role without a password is asked with: nobody knows a password for it. *strangers-look-alike*: the salt
    /// follows from the name and from what only the cluster knows.
    #[must_use]
    pub fn of_nobody(user: &str, secret: &[u8]) -> Self {
        let salt = hmac(secret, &[b"salt", user.as_bytes()])[..SALT_BYTES].to_vec();
        Self { iterations: ITERATIONS, salt, stored_key: rand::random(), server_key: rand::random() }
    }
}

impl std::fmt::Display for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| BASE64_STANDARD.encode(bytes));
        write!(f, "SCRAM-SHA-256${}:{salt}${stored}:{server}", self.iterations)
    }
}

/// Why an exchange ends, other than by a wrong password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    #[error("malformed SCRAM message")]
    Malformed(&'static str),
    #[error("SCRAM channel binding negotiation error")]
    Downgraded,
    #[error("unsupported SCRAM channel-binding type \"{0}\"")]
    BindingType(String),
    #[error("SCRAM channel binding check failed")]
    Binding,
    #[error("client uses authorization identity, but it is not supported")]
    Identity,
    #[error("client requires an unsupported SCRAM extension")]
    Extension,
    #[error("non-printable characters in SCRAM nonce")]
    Nonce,
    #[error("invalid SCRAM response")]
    Response,
}

impl ScramError {
    /// What PostgreSQL says in addition.
    #[must_use]
    pub fn detail(&self) -> Option<&'static str> {
        Some(match self {
            Self::Malformed(detail) => detail,
            Self::Downgraded => {
                "The client supports SCRAM channel binding but thinks the server does not.  \
                 However, this server does support channel binding."
            }
            Self::Response => "Nonce does not match.",
            _ => return None,
        })
    }
}

/// What the connection has to bind to.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The client chose SCRAM-SHA-256-PLUS.
    pub is_used: bool,
    /// Of the server's certificate; none without TLS, or for a certificate that has no such hash.
    pub end_point: Option<&'a [u8]>,
}

/// The server's side, between the client's two messages.
pub struct Exchange {
    verifier: Verifier,
    /// The beginning of the client's first message, up to its own part.
    header: String,
    end_point: Vec<u8>,
    client_first: String,
    server_first: String,
    nonce: String,
}

/// Takes one attribute off the front: `NAME=VALUE`, up to a comma.
fn attribute<'a>(rest: &mut &'a str, name: char) -> Result<&'a str, ScramError> {
    let missing = ScramError::Malformed("Expected another attribute.");
    let (own, tail) = rest.split_once(',').map_or((*rest, ""), |(own, tail)| (own, tail));
    let value = own.strip_prefix(name).and_then(|value| value.strip_prefix('=')).ok_or(missing)?;
    *rest = tail;
    Ok(value)
}

impl Exchange {
    /// Reads the client's first message; [`Exchange::challenge`] answers it.
    ///
    /// # Errors
    /// What is wrong with the message.
    pub fn begin(message: &str, verifier: Verifier, binding: Binding<'_>) -> Result<Self, ScramError> {
        let nonce = BASE64_STANDARD.encode(rand::random::<[u8; NONCE_BYTES]>());
        Self::begin_with(message, verifier, binding, &nonce)
    }

    fn begin_with(message: &str, verifier: Verifier, binding: Binding<'_>, nonce: &str) -> Result<Self, ScramError> {
        let cut = ScramError::Malformed("The message ends too early.");
        let (flag, rest) = message.split_once(',').ok_or(cut.clone())?;
        let mut end_point = Vec::new();
        match flag {
            "n" | "y" if binding.is_used => {
                return Err(ScramError::Malformed(
                    "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.",
                ));
            }
            "n" => {}
            // It would have bound, had it seen the offer: a man in the middle has taken it out (a downgrade).
            "y" if binding.end_point.is_some() => return Err(ScramError::Downgraded),
            "y" => {}
            other => {
                let kind = other
                    .strip_prefix("p=")
                    .ok_or(ScramError::Malformed("Unexpected channel-binding flag."))?;
                if !binding.is_used {
                    return Err(ScramError::Malformed(
                        "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.",
                    ));
                }
                if kind != "tls-server-end-point" {
                    return Err(ScramError::BindingType(kind.to_owned()));
                }
                end_point = binding.end_point.ok_or(ScramError::Binding)?.to_vec();
            }
        }
        let (identity, client_first) = rest.split_once(',').ok_or(cut)?;
        if identity.starts_with("a=") {
            return Err(ScramError::Identity);
        }
        if !identity.is_empty() {
            return Err(ScramError::Malformed("Unexpected attribute."));
        }
        if client_first.starts_with("m=") {
            return Err(ScramError::Extension);
        }
        let mut rest = client_first;
        // The name in the startup packet is the one that counts.
        attribute(&mut rest, 'n')?;
        let own = attribute(&mut rest, 'r')?;
        if own.is_empty() || !own.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ScramError::Nonce);
        }
        let nonce = format!("{own}{nonce}");
        let salt = BASE64_STANDARD.encode(&verifier.salt);
        Ok(Self {
            server_first: format!("r={nonce},s={salt},i={}", verifier.iterations),
            header: format!("{flag},,"),
            client_first: client_first.to_owned(),
            verifier,
            end_point,
            nonce,
        })
    }

    /// The answer to the client's first message.
    #[must_use]
    pub fn challenge(&self) -> &str {
        &self.server_first
    }

    /// Reads the client's last message; the answer to it, or none where the password is another.
    ///
    /// # Errors
    /// What is wrong with the message.
    pub fn finish(&self, message: &str) -> Result<Option<String>, ScramError> {
        let mut rest = message;
        let bound = attribute(&mut rest, 'c')?;
        let mut expected = self.header.clone().into_bytes();
        expected.extend_from_slice(&self.end_point);
        if bound != BASE64_STANDARD.encode(&expected) {
            return Err(ScramError::Binding);
        }
        let nonce = attribute(&mut rest, 'r')?;
        // Extensions may follow, and nobody has to know them.
        let (without_proof, proof) =
            message.rsplit_once(",p=").ok_or(ScramError::Malformed("The message has no proof."))?;
        let proof: Option<Key> = BASE64_STANDARD.decode(proof).ok().and_then(|proof| proof.try_into().ok());
        let proof = proof.ok_or(ScramError::Malformed("Malformed proof in client-final-message."))?;
        if nonce != self.nonce {
            return Err(ScramError::Response);
        }
        let signed = [self.client_first.as_str(), ",", &self.server_first, ",", without_proof];
        let signed = signed.map(str::as_bytes);
        let mut client_key = hmac(&self.verifier.stored_key, &signed);
        client_key.iter_mut().zip(proof).for_each(|(byte, other)| *byte ^= other);
        let is_right = are_equal(&Sha256::digest(client_key), &self.verifier.stored_key);
        let signature = BASE64_STANDARD.encode(hmac(&self.verifier.server_key, &signed));
        Ok(is_right.then(|| format!("v={signature}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
    const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const CLIENT_LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                               p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const UNBOUND: Binding<'static> = Binding { is_used: false, end_point: None };

    fn verifier(password: &str) -> Verifier {
        Verifier::with_salt(password, &BASE64_STANDARD.decode(SALT).unwrap(), 4096)
    }

    fn exchange(first: &str, binding: Binding<'_>) -> Result<Exchange, ScramError> {
        Exchange::begin_with(first, verifier("pencil"), binding, SERVER_NONCE)
    }

    #[test]
    fn the_example_of_the_rfc() {
        let exchange = exchange(CLIENT_FIRST, UNBOUND).unwrap();
        assert_eq!(
            exchange.challenge(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let answer = exchange.finish(CLIENT_LAST).unwrap();
        assert_eq!(answer.as_deref(), Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        let other = Exchange::begin_with(CLIENT_FIRST, verifier("pen"), UNBOUND, SERVER_NONCE).unwrap();
        assert_eq!(other.finish(CLIENT_LAST), Ok(None), "another password");
    }

    #[test]
    fn verifiers_are_read_as_they_are_written() {
        let made = Verifier::new("secret");
        let text = made.to_string();
        assert!(text.starts_with("SCRAM-SHA-256$4096:") && !text.contains("secret"));
        assert_eq!(Verifier::parse(&text), Some(made.clone()));
        assert!(made.is_of("secret") && !made.is_of("Secret"));
        assert_ne!(Verifier::new("secret"), made, "salted");
        // As PostgreSQL's password.sql has it: a key that is too short, or no number.
        for wrong in [
            "secret",
            "SCRAM-SHA-256$4096:aaa$bbb:ccc",
            "SCRAM-SHA-256$4096:VLK4RMaQLCvNtQ==$6YtlR4t69SguDiwFvbVgVZtuz6gpJQQqUMZ7IQJK5yI=",
            "SCRAM-SHA-256$-1:VLK4RMaQLCvNtQ==$6YtlR4t69SguDiwFvbVgVZtuz6gpJQQqUMZ7IQJK5yI=:ps75jrHeYU4lXCcXI4O8oIdJ3eO8o2jirjruw9phBTo=",
        ] {
            assert_eq!(Verifier::parse(wrong), None, "{wrong}");
        }
        // SASLprep: a non-ASCII space is a space, a soft hyphen nothing.
        assert!(Verifier::new("a\u{a0}b\u{ad}c").is_of("a bc"));
    }

    #[test]
    fn strangers_look_alike() {
        let [one, again] = [(); 2].map(|()| Verifier::of_nobody("ghost", b"known to the cluster"));
        assert_eq!(one.salt, again.salt);
        assert_ne!(one.salt, Verifier::of_nobody("wraith", b"known to the cluster").salt);
        assert_ne!(one.salt, Verifier::of_nobody("ghost", b"of another").salt);
        let exchange = Exchange::begin_with(CLIENT_FIRST, one, UNBOUND, SERVER_NONCE).unwrap();
        assert_eq!(exchange.finish(CLIENT_LAST), Ok(None));
    }

    #[test]
    fn messages_are_checked() {
        let begin = |first: &str| exchange(first, UNBOUND).err();
        assert_eq!(begin("n,a=x,n=,r=a"), Some(ScramError::Identity));
        assert_eq!(begin("n,,m=x,n=,r=a"), Some(ScramError::Extension));
        assert_eq!(begin("n,,n=,r=\u{7f}"), Some(ScramError::Nonce));
        for malformed in ["", "n", "n,", "x,,n=,r=a", "n,,r=a", "n,,n=a", "n,b,n=,r=a", "p=tls-unique,,n=,r=a"] {
            assert!(matches!(begin(malformed), Some(ScramError::Malformed(_))), "{malformed}");
        }
        let exchange = exchange(CLIENT_FIRST, UNBOUND).unwrap();
        let finish = |last: &str| exchange.finish(last).unwrap_err();
        assert_eq!(finish("c=eSws,r=x,p=eA=="), ScramError::Binding);
        let right = BASE64_STANDARD.encode([0; 32]);
        assert_eq!(finish(&format!("c=biws,r=x,p={right}")), ScramError::Response);
        assert!(matches!(finish("c=biws,r=x"), ScramError::Malformed(_)));
        assert!(matches!(finish("c=biws,r=x,p=eA=="), ScramError::Malformed(_)));
    }

    #[test]
    fn the_channel_is_bound() {
        let end_point = [7; 32];
        let plus = Binding { is_used: true, end_point: Some(&end_point) };
        let bound = exchange("p=tls-server-end-point,,n=,r=a", plus).unwrap();
        let last = |bytes: &[u8]| {
            let c = BASE64_STANDARD.encode([b"p=tls-server-end-point,,", bytes].concat());
            format!("c={c},r=a{SERVER_NONCE},p={}", BASE64_STANDARD.encode([0; 32]))
        };
        assert_eq!(bound.finish(&last(&end_point)), Ok(None), "the binding is right, the proof is not");
        assert_eq!(bound.finish(&last(&[8; 32])), Err(ScramError::Binding), "somebody else's certificate");
        assert_eq!(exchange("p=tls-unique,,n=,r=a", plus).err(), Some(ScramError::BindingType("tls-unique".into())));
        assert!(matches!(exchange("n,,n=,r=a", plus), Err(ScramError::Malformed(_))));
        let offered = Binding { is_used: false, end_point: Some(&end_point) };
        assert_eq!(exchange("y,,n=,r=a", offered).err(), Some(ScramError::Downgraded));
        assert!(exchange("n,,n=,r=a", offered).is_ok() && exchange("y,,n=,r=a", UNBOUND).is_ok());
    }
}
