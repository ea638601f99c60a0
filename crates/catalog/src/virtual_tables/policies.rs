//! Row security: `pg_policy`, and `pg_policies`, which shows it to people.

use super::row::{Rows, row};
use super::scope::{Key, Scope, Source};
use crate::definition::Style;
use crate::policy::Policy;

pub(super) const TABLES: &[Source] = &[
    Source::of("pg_policy", pg_policy, &[("oid", Key::Part), ("polname", Key::PartName), ("polrelid", Key::Class)]),
    Source::of("pg_policies", pg_policies, &[("schemaname", Key::SchemaName), ("tablename", Key::ClassName), ("policyname", Key::PartName)]),
];

/// 0 stands for everybody.
fn roles(policy: &Policy) -> Vec<u32> {
    if policy.roles.is_empty() { vec![0] } else { policy.roles.clone() }
}

fn pg_policy(view: &Scope<'_>, rows: &mut Rows) {
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

fn pg_policies(view: &Scope<'_>, rows: &mut Rows) {
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
