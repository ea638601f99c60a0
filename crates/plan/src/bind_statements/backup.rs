//! BACKUP, RESTORE and jobs: names of what is backed up are resolved, options looked at.

use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState, SqlType, quote_identifier};

use super::{find_table, fold, name_parts, utility};
use crate::backup::{
    Backup, BackupChoice, BackupStatement, BackupTargets, JobVerb, NamedBackup, Restore, RestoreTargets,
};
use crate::parse::own::{BackupOption, BackupText, TargetsText};
use crate::plan::PlanColumn;
use crate::statement::{PreparedPlan, Utility};
use crate::PlanContext;

/// Options, of which those that a statement takes are taken out one by one.
struct Options(Vec<BackupOption>);

impl Options {
    /// # Errors
    /// 42601 for one that is given twice.
    fn new(options: &[BackupOption]) -> SqlResult<Self> {
        for (at, option) in options.iter().enumerate() {
            if options[..at].iter().any(|before| before.name == option.name) {
                return Err(SqlError::new(SqlState::SyntaxError, "conflicting or redundant options"));
            }
        }
        Ok(Self(options.to_vec()))
    }

    fn take(&mut self, name: &str) -> Option<BackupOption> {
        let at = self.0.iter().position(|option| option.name == name)?;
        Some(self.0.remove(at))
    }

    fn flag(&mut self, name: &str) -> SqlResult<bool> {
        match self.take(name).map(|option| option.value) {
            None => Ok(false),
            Some(None) => Ok(true),
            Some(Some(value)) => match value.to_lowercase().as_str() {
                "true" | "on" => Ok(true),
                "false" | "off" => Ok(false),
                _ => Err(SqlError::new(SqlState::InvalidParameterValue, format!("{name} requires a Boolean value"))),
            },
        }
    }

    fn text(&mut self, name: &str) -> SqlResult<Option<String>> {
        match self.take(name).map(|option| option.value) {
            None => Ok(None),
            Some(Some(value)) if !value.is_empty() => Ok(Some(value)),
            Some(_) => Err(SqlError::new(SqlState::SyntaxError, format!("{name} requires a parameter"))),
        }
    }

    /// # Errors
    /// 42601 for what is left.
    fn finish(self) -> SqlResult<()> {
        match self.0.first() {
            None => Ok(()),
            Some(option) if option.name == "kms" => Err(SqlError::not_supported("keys of key management services are not supported")
                .with_hint("Use encryption_passphrase.")),
            Some(option) => Err(SqlError::new(SqlState::SyntaxError, format!("unrecognized option \"{}\"", option.name))),
        }
    }
}

/// A size as settings have it: a number, and a unit.
fn bytes(text: &str) -> SqlResult<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = match text[digits..].trim() {
        "" | "B" => Some(1),
        "kB" => Some(1 << 10),
        "MB" => Some(1 << 20),
        "GB" => Some(1 << 30),
        _ => None,
    };
    let bytes = text[..digits].parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| {
        SqlError::new(SqlState::InvalidParameterValue, format!("invalid value for parameter \"rate_limit\": \"{text}\""))
            .with_hint("Valid units for this parameter are \"B\", \"kB\", \"MB\", and \"GB\".")
    })
}

fn columns(list: &[(&str, SqlType)]) -> Vec<PlanColumn> {
    let column = |(name, ty): &(&str, SqlType)| PlanColumn { name: (*name).to_owned(), ty: *ty, table_oid: 0, attribute: 0 };
    list.iter().map(column).collect()
}

fn job_columns(detached: bool) -> Vec<PlanColumn> {
    use SqlType as T;
    match detached {
        true => columns(&[("job_id", T::Int8)]),
        false => columns(&[
            ("job_id", T::Int8),
            ("status", T::Text),
            ("fraction_completed", T::Float8),
            ("rows", T::Int8),
            ("bytes", T::Int8),
        ]),
    }
}

fn no_database(name: &str) -> SqlError {
    SqlError::new(SqlState::InvalidCatalogName, format!("database \"{name}\" does not exist"))
}

fn named(choice: &BackupChoice, uri: &str, options: &mut Options) -> SqlResult<NamedBackup> {
    let passphrase = options.text("encryption_passphrase")?;
    Ok(NamedBackup { choice: choice.clone(), uri: uri.to_owned(), passphrase })
}

fn listed<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> String {
    format!("{word} {}", names.map(quote_identifier).collect::<Vec<_>>().join(", "))
}

fn shown(targets: &TargetsText) -> SqlResult<String> {
    Ok(match targets {
        TargetsText::Cluster => String::new(),
        TargetsText::Databases(names) => {
            let names: Vec<String> = names.iter().map(fold).collect();
            listed("DATABASE", names.iter().map(String::as_str))
        }
        TargetsText::Tables(names) => {
            let names = names.iter().map(|name| {
                let parts = name_parts(name)?;
                Ok(parts.iter().map(|part| quote_identifier(part)).collect::<Vec<_>>().join("."))
            });
            format!("TABLE {}", names.collect::<SqlResult<Vec<_>>>()?.join(", "))
        }
    })
}

fn backup_targets(targets: &TargetsText, context: &PlanContext<'_>) -> SqlResult<BackupTargets> {
    Ok(match targets {
        TargetsText::Cluster => BackupTargets::Cluster,
        TargetsText::Databases(names) => {
            let ids = names.iter().map(|name| {
                let name = fold(name);
                context.catalog.database(&name).map(|database| database.id).ok_or_else(|| no_database(&name))
            });
            BackupTargets::Databases(ids.collect::<SqlResult<_>>()?)
        }
        TargetsText::Tables(names) => {
            let ids = names.iter().map(|name| Ok(find_table(context, name)?.id));
            BackupTargets::Tables(ids.collect::<SqlResult<_>>()?)
        }
    })
}

fn table_of_backup(name: &ast::ObjectName) -> SqlResult<(Option<String>, String, String)> {
    let mut parts = name_parts(name)?.into_iter().rev();
    let (name, schema, database) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    if parts.next().is_some() {
        return Err(SqlError::new(SqlState::SyntaxError, "improper qualified name (too many dotted names)"));
    }
    Ok((database, schema.unwrap_or_else(|| "public".to_owned()), name))
}

fn restore(
    targets: &TargetsText,
    choice: &BackupChoice,
    uri: &str,
    as_of: Option<&String>,
    options: &[BackupOption],
    context: &PlanContext<'_>,
) -> SqlResult<Restore> {
    let mut options = Options::new(options)?;
    let from = named(choice, uri, &mut options)?;
    let detached = options.flag("detached")?;
    let (new_name, into) = (options.text("new_db_name")?, options.text("into_db")?);
    let skip_missing_foreign_keys = options.flag("skip_missing_foreign_keys")?;
    options.finish()?;
    let misplaced = |option: &str, of: &str| {
        SqlError::new(SqlState::InvalidParameterValue, format!("{option} can only be used with RESTORE {of}"))
    };
    let (shown, as_of) = (shown(targets)?, as_of.cloned());
    let targets = match targets {
        TargetsText::Cluster => RestoreTargets::Cluster,
        TargetsText::Databases(names) => RestoreTargets::Databases(names.iter().map(fold).collect()),
        TargetsText::Tables(names) => {
            RestoreTargets::Tables(names.iter().map(table_of_backup).collect::<SqlResult<_>>()?)
        }
    };
    if new_name.is_some() && !matches!(&targets, RestoreTargets::Databases(names) if names.len() == 1) {
        return Err(misplaced("new_db_name", "DATABASE of one database"));
    }
    let is_of_tables = matches!(targets, RestoreTargets::Tables(_));
    if !is_of_tables && into.is_some() {
        return Err(misplaced("into_db", "TABLE"));
    }
    if !is_of_tables && skip_missing_foreign_keys {
        return Err(misplaced("skip_missing_foreign_keys", "TABLE"));
    }
    let database = match into {
        None => context.database,
        Some(name) => context.catalog.database(&name).ok_or_else(|| no_database(&name))?.id,
    };
    Ok(Restore { targets, shown, from, as_of, new_name, database, skip_missing_foreign_keys, detached })
}

pub(super) fn bind(text: &BackupText, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    use SqlType as T;
    let (statement, tag, columns) = match text {
        BackupText::Backup { targets, append, uri, as_of, options } => {
            let mut options = Options::new(options)?;
            let passphrase = options.text("encryption_passphrase")?;
            let (revision_history, detached) = (options.flag("revision_history")?, options.flag("detached")?);
            let rate_limit = options.text("rate_limit")?.map_or(Ok(0), |text| bytes(&text))?;
            options.finish()?;
            let backup = Backup {
                targets: backup_targets(targets, context)?,
                shown: shown(targets)?,
                uri: uri.clone(),
                append: *append,
                as_of: as_of.clone(),
                revision_history,
                passphrase,
                rate_limit,
                detached,
            };
            (BackupStatement::Backup(backup), "BACKUP", job_columns(detached))
        }
        BackupText::Restore { targets, choice, uri, as_of, options } => {
            let restore = restore(targets, choice, uri, as_of.as_ref(), options, context)?;
            let columns = job_columns(restore.detached);
            (BackupStatement::Restore(restore), "RESTORE", columns)
        }
        BackupText::ShowBackups { uri } => {
            (BackupStatement::ShowBackups { uri: uri.clone() }, "SHOW BACKUPS", columns(&[("path", T::Text)]))
        }
        BackupText::ShowBackup { choice, uri, options } => {
            let mut options = Options::new(options)?;
            let backup = named(choice, uri, &mut options)?;
            options.finish()?;
            let columns = columns(&[
                ("database_name", T::Text),
                ("parent_schema_name", T::Text),
                ("object_name", T::Text),
                ("object_type", T::Text),
                ("backup_type", T::Text),
                ("start_time", T::TimestampTz(None)),
                ("end_time", T::TimestampTz(None)),
                ("size_bytes", T::Int8),
                ("rows", T::Int8),
                ("is_full_cluster", T::Bool),
            ]);
            (BackupStatement::ShowBackup(backup), "SHOW BACKUP", columns)
        }
        BackupText::Verify { choice, uri, options } => {
            let mut options = Options::new(options)?;
            let backup = named(choice, uri, &mut options)?;
            options.finish()?;
            let columns = columns(&[
                ("path", T::Text),
                ("backups", T::Int8),
                ("files", T::Int8),
                ("entries", T::Int8),
                ("bytes", T::Int8),
            ]);
            (BackupStatement::Verify(backup), "VERIFY BACKUP", columns)
        }
        BackupText::ShowJobs(id) => {
            let columns = columns(&[
                ("job_id", T::Int8),
                ("job_type", T::Text),
                ("description", T::Text),
                ("user_name", T::Text),
                ("status", T::Text),
                ("created", T::TimestampTz(None)),
                ("started", T::TimestampTz(None)),
                ("finished", T::TimestampTz(None)),
                ("fraction_completed", T::Float8),
                ("error", T::Text),
                ("coordinator_id", T::Int8),
            ]);
            (BackupStatement::ShowJobs(*id), if id.is_some() { "SHOW JOB" } else { "SHOW JOBS" }, columns)
        }
        BackupText::Control { verb, id } => {
            let tag = match verb {
                JobVerb::Pause => "PAUSE JOB",
                JobVerb::Resume => "RESUME JOB",
                JobVerb::Cancel => "CANCEL JOB",
            };
            (BackupStatement::Control { verb: *verb, id: *id }, tag, Vec::new())
        }
    };
    let mut plan = utility(Utility::Backup(Box::new(statement)), tag, context);
    plan.columns = columns;
    Ok(plan)
}
