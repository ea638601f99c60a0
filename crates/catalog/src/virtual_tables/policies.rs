//! Row security: `pg_policy`, and `pg_policies`, which shows it to people.

use super::Maker;
use super::row::{Rows, row};
use crate::definition::Style;
use crate::policy::Policy;
use crate::view::CatalogView;

pub(super) const TABLES: &[(&str, Maker)] = &[("pg_policy", pg_policy), ("pg_policies", pg_policies)];

/// 0 stands for everybody.
fn roles(policy: &Policy) -> Vec<u32> {
    if policy.roles.is_empty() { vec![0] } else { policy.roles.clone() }
}

fn pg_policy(view: &CatalogView, rows: &mut Rows) {
    let mut all: Vec<(u32, &Policy)> =
        view.tables().flat_map(|table| table.policies().iter().map(|policy| (table.id, policy))).collect();
    // In the order in which they were made, which clients show.
    all.sort_unstable_by_key(|(_, policy)| policy.oid);
    for (table, policy) in all {
        row!(rows, {
            oid: policy.oid,
            polname: &policy.name,
            polrelid: table,
            polcmd: policy.command.letter(),
            polpermissive: policy.permissive,
            polroles: roles(policy),
            polqual: policy.using.as_ref().map(|expr| &expr.text),
            polwithcheck: policy.check.as_ref().map(|expr| &expr.text),
        });
    }
}

fn pg_policies(view: &CatalogView, rows: &mut Rows) {
    for table in view.tables() {
        for policy in table.policies() {
            let mut names: Vec<String> = policy.roles.iter().map(|role| view.role_name(*role)).collect();
            names.sort_unstable();
            if names.is_empty() {
                names.push("public".to_owned());
            }
            let shown = |expr: &Option<_>| expr.as_ref().map(|expr| view.policy_expr(table, expr, Style::Plain));
            row!(rows, {
                schemaname: view.schema_name(table.schema),
                tablename: &table.name,
                policyname: &policy.name,
                permissive: if policy.permissive { "PERMISSIVE" } else { "RESTRICTIVE" },
                roles: names,
                cmd: policy.command.name(),
                qual: shown(&policy.using),
                with_check: shown(&policy.check),
            });
        }
    }
}
