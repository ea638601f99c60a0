//! Who a client is: the rule that holds for its connection, and what that asks for.

use std::net::SocketAddr;

use auth::{
    hba::{ClientCert, Connecting, Method},
    scram::{Binding, Exchange, MECHANISM, MECHANISM_PLUS, ScramError, Verifier},
};
use catalog::{CatalogSnapshot, Role};
use session::{Access, Engine, NEWEST_PATIENCE};
use types::{SqlError, SqlResult, SqlState};

use crate::{
    encode,
    frame::{Body, Reader, protocol},
    stream::{Encrypted, Origin},
    writer::Writer,
};

/// A client that says who it is.
pub(crate) struct Claim<'a> {
    pub user: &'a str,
    pub database: &'a str,
    pub from: &'a Origin,
    pub to: SocketAddr,
    pub encrypted: Option<&'a Encrypted>,
}

/// Gets in by the certificate that is made for it, whatever the rules say.
const ADMINISTRATOR: &str = "postgres";

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InvalidAuthorizationSpecification, message)
}

/// Lets a client show that it is who it says, and says how it has; none when it has gone meanwhile.
///
/// # Errors
/// FATAL: 28000 or 28P01 when it is not, or may not connect.
pub(crate) async fn authenticate(
    claim: &Claim<'_>,
    engine: &Engine,
    reader: &mut Reader,
    writer: &mut Writer,
) -> SqlResult<Option<&'static str>> {
    if engine.access == Access::Open {
        return Ok(Some("trust"));
    }
    // What was granted and taken away on other nodes counts here as well.
    let catalog = match tokio::time::timeout(NEWEST_PATIENCE, engine.catalog.refresh()).await {
        Ok(Ok(newest)) => newest,
        Ok(Err(error)) => {
            tracing::warn!(%error, "a client is judged by older roles and rules");
            engine.catalog.current()
        }
        Err(_) => {
            tracing::warn!("a client is judged by older roles and rules: the newest cannot be reached");
            engine.catalog.current()
        }
    };
    let connecting = Connecting {
        database: claim.database,
        user: claim.user,
        from: claim.from.address().map(|address| address.ip()),
        to: claim.to.ip(),
        is_encrypted: claim.encrypted.is_some(),
    };
    let certificate = claim.encrypted.and_then(|encrypted| encrypted.client.as_ref());
    let certificate_name = certificate.and_then(|certificate| certificate.common_name.as_deref());
    // Rules cannot lock the administrator out.
    if claim.user == ADMINISTRATOR && certificate_name == Some(ADMINISTRATOR) {
        return Ok(Some("cert"));
    }
    let whom = || {
        let encryption = if connecting.is_encrypted { "SSL encryption" } else { "no encryption" };
        let from = connecting.from.map_or_else(|| "[local]".to_owned(), |from| from.to_canonical().to_string());
        format!("host \"{from}\", user \"{}\", database \"{}\", {encryption}", claim.user, claim.database)
    };
    let Some(rule) = engine.access.rules(&catalog).find(&connecting) else {
        return Err(invalid(format!("no pg_hba.conf entry for {}", whom())));
    };
    if rule.client_cert != ClientCert::NotNeeded && certificate.is_none() {
        return Err(invalid("connection requires a valid client certificate"));
    }
    let is_mapped = |system: Option<&str>| {
        system.is_some_and(|system| is_role_of(system, claim.user, rule.map.as_deref(), &catalog))
    };
    let is_own_certificate = || is_mapped(certificate_name);
    let not_own = || invalid(format!("certificate authentication failed for user \"{}\"", claim.user));
    let shown_by = match rule.method {
        Method::Reject => {
            return Err(invalid(format!("pg_hba.conf rejects connection for {}", whom())));
        }
        Method::Trust => Some("trust"),
        Method::Cert => Some("cert"),
        Method::Peer if is_peer(claim.from, is_mapped) => Some("peer"),
        Method::Peer => return Err(invalid(format!("Peer authentication failed for user \"{}\"", claim.user))),
        Method::CertOrScram if certificate.is_some() => match is_own_certificate() {
            true => Some("cert"),
            false => return Err(not_own()),
        },
        Method::Scram { .. } | Method::CertOrScram => {
            exchange(claim, &catalog, engine, reader, writer).await?.then_some("scram-sha-256")
        }
    };
    if shown_by.is_some() && rule.client_cert == ClientCert::VerifyFull && !is_own_certificate() {
        return Err(not_own());
    }
    Ok(shown_by)
}

/// Whether a user of another system may be a role: by a map, or under the same name.
fn is_role_of(system: &str, role: &str, map: Option<&str>, catalog: &CatalogSnapshot) -> bool {
    let is_allowed = match map {
        Some(map) => catalog.cluster().mappings.allow(map, system, role),
        None => system == role,
    };
    if !is_allowed {
        match map {
            Some(map) => tracing::info!(map, role, "no match in the map of user names for who has authenticated"),
            None => tracing::info!(role, "the name of the role is not that of who has authenticated"),
        }
    }
    is_allowed
}

/// Whether the operating system says that a client may be this role. Who runs the node has its store anyway.
fn is_peer(from: &Origin, is_mapped: impl FnOnce(Option<&str>) -> bool) -> bool {
    match from {
        Origin::Socket { user, is_owner } => *is_owner || is_mapped(user.as_deref()),
        Origin::Host(_) => false,
    }
}

/// The verifier of a role's password, as long as that is good.
fn verifier(role: Option<&Role>, now: i64) -> Option<Verifier> {
    let role = role?;
    if role.valid_until.is_some_and(|until| until < now) {
        tracing::info!(role = role.name, "the password has expired");
        return None;
    }
    Verifier::parse(role.password.as_deref()?)
}

/// The exchange of SCRAM-SHA-256; false when the client has gone.
async fn exchange(
    claim: &Claim<'_>,
    catalog: &CatalogSnapshot,
    engine: &Engine,
    reader: &mut Reader,
    writer: &mut Writer,
) -> SqlResult<bool> {
    let role = catalog.role(claim.user).map(|role| &**role);
    let found = verifier(role, session::now_micros(&engine.clock));
    // A role that cannot get in by a password is asked for one all the same: *strangers-look-alike*.
    let is_doomed = found.is_none();
    let verifier =
        found.unwrap_or_else(|| Verifier::of_nobody(claim.user, &catalog.cluster().settings.secret));
    let end_point = claim.encrypted.and_then(|encrypted| encrypted.end_point.as_deref());
    let offered: &[&str] =
        if end_point.is_some() { &[MECHANISM_PLUS, MECHANISM] } else { &[MECHANISM] };
    encode::authentication_sasl(&mut writer.out, offered);
    let Some(first) = response(reader, writer).await? else { return Ok(false) };
    let mut body = Body::new(&first);
    let mechanism = body.string()?;
    if !offered.contains(&mechanism) {
        return Err(protocol("client selected an invalid SASL authentication mechanism"));
    }
    let length = body.i32()?;
    let data = usize::try_from(length).map_err(|_| protocol("malformed SCRAM message"))?;
    let data = body.take(data)?;
    body.end()?;
    let binding = Binding { is_used: mechanism == MECHANISM_PLUS, end_point };
    let exchange = Exchange::begin(text(data)?, verifier, binding).map_err(|error| refused(&error))?;
    encode::authentication_sasl_data(&mut writer.out, 11, exchange.challenge());
    let Some(last) = response(reader, writer).await? else { return Ok(false) };
    match exchange.finish(text(&last)?).map_err(|error| refused(&error))? {
        Some(signature) if !is_doomed => {
            encode::authentication_sasl_data(&mut writer.out, 12, &signature);
            Ok(true)
        }
        _ => {
            let message = format!("password authentication failed for user \"{}\"", claim.user);
            Err(SqlError::new(SqlState::InvalidPassword, message))
        }
    }
}

fn text(data: &[u8]) -> SqlResult<&str> {
    std::str::from_utf8(data).map_err(|_| protocol("malformed SCRAM message"))
}

/// Sends what was written, and reads the client's answer; none when it has gone.
async fn response(reader: &mut Reader, writer: &mut Writer) -> SqlResult<Option<bytes::Bytes>> {
    if writer.flush().await.is_err() {
        return Ok(None);
    }
    match reader.next().await? {
        None => Ok(None),
        Some(frame) if frame.kind == b'p' => Ok(Some(frame.body)),
        Some(frame) => Err(protocol(format!("expected SASL response, got message type {}", frame.kind))),
    }
}

fn refused(error: &ScramError) -> SqlError {
    let state = match error {
        ScramError::Malformed(_) | ScramError::BindingType(_) | ScramError::Nonce | ScramError::Response => {
            SqlState::ProtocolViolation
        }
        ScramError::Downgraded | ScramError::Binding => SqlState::InvalidAuthorizationSpecification,
        ScramError::Identity | ScramError::Extension => SqlState::FeatureNotSupported,
    };
    let refused = SqlError::new(state, error.to_string());
    match error.detail() {
        Some(detail) => refused.with_detail(detail),
        None => refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_who_the_system_says() {
        let at_socket = |user: Option<&str>, is_owner| Origin::Socket { user: user.map(str::to_owned), is_owner };
        let is = |role: &'static str| move |user: Option<&str>| user == Some(role);
        assert!(is_peer(&at_socket(Some("app"), false), is("app")) && is_peer(&at_socket(None, true), is("app")));
        assert!(!is_peer(&at_socket(Some("app"), false), is("postgres")) && !is_peer(&at_socket(None, false), is("app")));
        assert!(!is_peer(&Origin::Host("127.0.0.1:1".parse().unwrap()), is("app")));
    }
}
