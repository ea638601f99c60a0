//! The superuser's password at the first start of a cluster.

use catalog::descriptor::POSTGRES_ROLE;
use types::{SqlError, SqlResult, quote_identifier};

use super::{Ending, Engine, Session};
use crate::cursor::Nowhere;

/// Gives the superuser a password of letters and digits. To be called before clients are taken.
///
/// # Errors
/// When it cannot be written.
pub async fn set_first_password(engine: Engine, password: &str) -> SqlResult<()> {
    let catalog = engine.catalog.current();
    let role = catalog.role_by_id(POSTGRES_ROLE).ok_or_else(|| SqlError::internal("there is no superuser"))?;
    let mut session = Session::connect(engine, &role.name, "postgres", 0).await?;
    debug_assert!(password.bytes().all(|byte| byte.is_ascii_alphanumeric()), "nothing in it needs quoting");
    let text = format!("ALTER ROLE {} PASSWORD '{password}'", quote_identifier(&role.name));
    let statement = session.read(&text, &[])?.pop().ok_or_else(|| SqlError::internal("a statement reads as none"))?;
    session.run(&statement, &mut Nowhere, Ending::WithStatement).await?;
    session.close().await;
    Ok(())
}
