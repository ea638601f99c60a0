//! *own-schema*: the schema that all tables lie in, made and removed.

use tokio_postgres::Client;

use crate::{Failure, Outcome};

/// Where everything is.
pub const SCHEMA: &str = "workload";
/// A table that only this makes there: it marks the schema as ours.
const MARK: &str = "made_by_quorate_workload";

/// What is there under the schema's name.
enum Found {
    Nothing,
    Ours,
    Foreign,
}

async fn find(client: &Client) -> Outcome<Found> {
    let schema = client.query("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&SCHEMA]).await?;
    if schema.is_empty() {
        return Ok(Found::Nothing);
    }
    let mark = "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname = $1 AND relname = $2";
    let mark = client.query(mark, &[&SCHEMA, &MARK]).await?;
    Ok(if mark.is_empty() { Found::Foreign } else { Found::Ours })
}

fn foreign() -> Failure {
    Failure::Outside(format!("there is a schema \"{SCHEMA}\" that this program did not make: it is left alone"))
}

/// Makes the schema with the tables of a workload, in place of what an earlier run left.
///
/// # Errors
/// When there is one that is not ours, or the server refuses.
pub async fn make(client: &Client, tables: &str) -> Outcome<()> {
    drop_ours(client).await?;
    client.batch_execute(&format!("CREATE SCHEMA {SCHEMA}")).await?;
    client.batch_execute(&format!("CREATE TABLE {SCHEMA}.{MARK} (made_at timestamptz NOT NULL)")).await?;
    client.batch_execute(&format!("INSERT INTO {SCHEMA}.{MARK} VALUES (now())")).await?;
    client.batch_execute(&format!("SET search_path TO {SCHEMA}")).await?;
    client.batch_execute(tables).await?;
    Ok(())
}

/// Removes the schema, if it is ours; whether there was one.
///
/// # Errors
/// As [`make`].
pub async fn drop_ours(client: &Client) -> Outcome<bool> {
    match find(client).await? {
        Found::Nothing => Ok(false),
        Found::Foreign => Err(foreign()),
        Found::Ours => {
            client.batch_execute(&format!("DROP SCHEMA {SCHEMA} CASCADE")).await?;
            Ok(true)
        }
    }
}
