//! BACKUP, RESTORE and jobs: who may ask for them, what is made of them, and the rows that answer.
//!
//! A job is no part of the session's transaction: it outlives the session.

use backup::{BackupRef, BackupTask, FoundJob, Job, JobKind, JobStatus, NewJob, RestoreTarget, RestoreTask, TableName, Target, Verb};
use catalog::privilege::Access;
use hlc::Timestamp;
use plan::PreparedPlan;
use plan::backup::{
    Backup, BackupChoice, BackupStatement, BackupTargets, JobVerb, NamedBackup, Restore, RestoreTargets,
};
use types::{Batch, Datum, SqlError, SqlResult, SqlState, SqlType};

use super::{Completion, Failure, Session};
use crate::host::PG_EPOCH_MICROS;
use crate::sink::{Sink, send};

/// The predefined roles that may have files of the server read and written.
const READ_SERVER_FILES: u32 = 4_569;
const WRITE_SERVER_FILES: u32 = 4_570;

fn denied(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::InsufficientPrivilege, message)
}

fn choice(choice: &BackupChoice) -> BackupRef {
    match choice {
        BackupChoice::Latest => BackupRef::Latest,
        BackupChoice::Path(path) => BackupRef::Path(path.clone()),
    }
}

fn count(number: u64) -> Datum {
    Datum::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn time(at: Option<Timestamp>) -> Datum {
    at.map_or(Datum::Null, |at| {
        let micros = i64::try_from(at.wall_ns() / 1_000).unwrap_or(i64::MAX);
        Datum::TimestampTz(micros.saturating_sub(PG_EPOCH_MICROS))
    })
}

fn text(text: Option<String>) -> Datum {
    text.map_or(Datum::Null, Datum::text)
}

/// `'…'`, as statements have texts.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The error that a job has failed with.
fn failed(job: &Job) -> SqlError {
    let Some(error) = &job.error else { return SqlError::internal(format!("job {} has failed", job.id)) };
    let code = SqlState::from_code(&error.code).unwrap_or(SqlState::InternalError);
    let mut made = SqlError::new(code, error.message.clone());
    if let Some(detail) = &error.detail {
        made = made.with_detail(detail.clone());
    }
    if let Some(hint) = &error.hint {
        made = made.with_hint(hint.clone());
    }
    made
}

impl Session {
    pub(super) async fn backup_statement(
        &mut self,
        statement: &BackupStatement,
        plan: &PreparedPlan,
        sink: &mut dyn Sink,
        describe: bool,
    ) -> Result<Completion, Failure> {
        self.know_privileges().await?;
        let rows = match statement {
            BackupStatement::Backup(backup) => {
                self.check_alone("BACKUP")?;
                self.check_writable("BACKUP")?;
                let id = self.begin_backup(backup).await?;
                self.answer_of_job(id, backup.detached).await?
            }
            BackupStatement::Restore(restore) => {
                self.check_alone("RESTORE")?;
                self.check_writable("RESTORE")?;
                let id = self.begin_restore(restore).await?;
                self.answer_of_job(id, restore.detached).await?
            }
            BackupStatement::ShowBackups { uri } => {
                self.check_files(uri, READ_SERVER_FILES)?;
                let paths = or_cancelled(&self.cancel, backup::list_backups(uri)).await?;
                paths.into_iter().map(|path| vec![Datum::text(path)]).collect()
            }
            BackupStatement::ShowBackup(named) => self.show_backup(named).await?,
            BackupStatement::Verify(named) => {
                self.check_files(&named.uri, READ_SERVER_FILES)?;
                let of = choice(&named.choice);
                let reading = backup::verify_backup(&named.uri, &of, named.passphrase.as_deref());
                let (path, verified) = or_cancelled(&self.cancel, reading).await?;
                let counts = [verified.layers, verified.files, verified.entries, verified.bytes];
                vec![std::iter::once(Datum::text(path)).chain(counts.map(count)).collect()]
            }
            BackupStatement::ShowJobs(id) => self.show_jobs(*id).await?,
            BackupStatement::Control { verb, id } => {
                let verb = match verb {
                    JobVerb::Pause => Verb::Pause,
                    JobVerb::Resume => Verb::Resume,
                    JobVerb::Cancel => Verb::Cancel,
                };
                self.check_alone(verb.tag())?;
                let job = self.engine.jobs.job(*id).await?;
                self.check_own_job(*id, &job)?;
                self.engine.jobs.control(*id, verb).await?;
                return Ok(Completion::Done(plan.tag.to_owned()));
            }
        };
        if describe {
            sink.columns(&plan.columns);
        }
        let types: Vec<SqlType> = plan.columns.iter().map(|column| column.ty).collect();
        send(sink, &Batch::from_rows(&types, &rows), 0..rows.len(), &self.settings.formatting).await?;
        Ok(Completion::Done(plan.tag.to_owned()))
    }

    /// # Errors
    /// 25001 in a transaction block: what a job does cannot be rolled back.
    fn check_alone(&self, tag: &str) -> SqlResult<()> {
        let is_alone = self.within.is_none() && self.block.as_ref().is_none_or(|block| !block.explicit && block.answered == 0);
        match is_alone {
            true => Ok(()),
            false => {
                let message = format!("{tag} cannot run inside a transaction block");
                Err(SqlError::new(SqlState::ActiveSqlTransaction, message))
            }
        }
    }

    /// # Errors
    /// 42501 where the user may not have files of the server read or written.
    fn check_files(&self, uri: &str, of: u32) -> SqlResult<()> {
        let environment = self.environment();
        let roles = self.roles();
        let access = Access { roles: &roles, ..environment.view.catalog.access(self.database) };
        if access.is_superuser(environment.user_id) || access.has_role(environment.user_id, of) {
            return Ok(());
        }
        let name = if of == READ_SERVER_FILES { "pg_read_server_files" } else { "pg_write_server_files" };
        let scheme = uri.split_once("://").map_or("", |(scheme, _)| scheme);
        Err(denied(format!("permission denied to use backup location {scheme}://"))
            .with_detail(format!("Only roles with privileges of the \"{name}\" role may use it.")))
    }

    /// # Errors
    /// 42501.
    fn check_backs_up(&self, targets: &BackupTargets) -> SqlResult<()> {
        let environment = self.environment();
        let (catalog, user, roles) = (&environment.view.catalog, environment.user_id, self.roles());
        let access = Access { roles: &roles, ..catalog.access(self.database) };
        if access.is_superuser(user) {
            return Ok(());
        }
        let ids = match targets {
            BackupTargets::Cluster => return Err(denied("must be superuser to back up a whole cluster")),
            BackupTargets::Databases(ids) | BackupTargets::Tables(ids) => ids,
        };
        ids.iter().try_for_each(|id| access.check_owner(user, *id))
    }

    async fn begin_backup(&mut self, wanted: &Backup) -> SqlResult<u64> {
        self.check_backs_up(&wanted.targets)?;
        self.check_files(&wanted.uri, WRITE_SERVER_FILES)?;
        let clock = self.engine.clock.clone();
        let target = match &wanted.targets {
            BackupTargets::Cluster => Target::Cluster,
            BackupTargets::Databases(ids) => Target::Databases(ids.clone()),
            BackupTargets::Tables(ids) => Target::Tables(ids.clone()),
        };
        let end = match &wanted.as_of {
            Some(text) => self.time_of(text)?,
            None => backup::backup_time(&clock).await,
        };
        let passphrase = wanted.passphrase.as_deref();
        let task = match wanted.append {
            true => {
                let reading = backup::plan_layer(&wanted.uri, passphrase, &target, end);
                let (path, layer, key) = or_cancelled(&self.cancel, reading).await?;
                BackupTask { path, layer: Some(layer), key, encryption: None, ..BackupTask::full(&wanted.uri, end, target) }
            }
            false => {
                backup::check_location(&wanted.uri)?;
                let full = BackupTask::full(&wanted.uri, end, target);
                match passphrase {
                    None => full,
                    Some(passphrase) => {
                        let (key, file) = backup::new_key(passphrase).await?;
                        BackupTask { key: Some(key), encryption: Some(file.to_vec()), ..full }
                    }
                }
            }
        };
        let task = BackupTask { revision_history: wanted.revision_history, rate_limit: wanted.rate_limit, ..task };
        let mut statement = "BACKUP".to_owned();
        if !wanted.shown.is_empty() {
            statement = format!("{statement} {}", wanted.shown);
        }
        let latest = if wanted.append { "LATEST IN " } else { "" };
        statement = format!("{statement} INTO {latest}{}", quoted(&backup::without_secrets(&wanted.uri)));
        if let Some(as_of) = &wanted.as_of {
            statement = format!("{statement} AS OF SYSTEM TIME {}", quoted(as_of));
        }
        let options = [
            wanted.revision_history.then(|| "revision_history".to_owned()),
            wanted.passphrase.as_ref().map(|_| "encryption_passphrase = 'redacted'".to_owned()),
            (wanted.rate_limit > 0).then(|| format!("rate_limit = '{}B'", wanted.rate_limit)),
            wanted.detached.then(|| "detached".to_owned()),
        ];
        let statement = with_options(statement, options);
        self.begin_job(JobKind::Backup, statement, task.encode(), Some(end)).await
    }

    /// # Errors
    /// 42501.
    fn check_restores(&self, wanted: &Restore) -> SqlResult<()> {
        let environment = self.environment();
        let (catalog, user, roles) = (&environment.view.catalog, environment.user_id, self.roles());
        let access = Access { roles: &roles, ..catalog.access(wanted.database) };
        if access.is_superuser(user) {
            return Ok(());
        }
        match &wanted.targets {
            RestoreTargets::Cluster => Err(denied("must be superuser to restore a whole cluster")),
            RestoreTargets::Databases(_) if roles.role_by_id(user).is_some_and(|role| role.create_db) => Ok(()),
            RestoreTargets::Databases(_) => Err(denied("permission denied to restore a database")),
            RestoreTargets::Tables(_) => access.check_owner(user, wanted.database),
        }
    }

    async fn begin_restore(&mut self, wanted: &Restore) -> SqlResult<u64> {
        let (catalog, user) = (self.catalog(), self.environment().user_id);
        self.check_restores(wanted)?;
        self.check_files(&wanted.from.uri, READ_SERVER_FILES)?;
        let as_of = wanted.as_of.as_deref().map(|text| self.time_of(text)).transpose()?;
        let of = choice(&wanted.from.choice);
        let reading = backup::find_backup(&wanted.from.uri, &of, wanted.from.passphrase.as_deref());
        let (path, key, _) = or_cancelled(&self.cancel, reading).await?;
        let target = match &wanted.targets {
            RestoreTargets::Cluster => RestoreTarget::Cluster,
            RestoreTargets::Databases(names) => RestoreTarget::Databases(names.clone()),
            RestoreTargets::Tables(names) => {
                let name = |(database, schema, name): &(Option<String>, String, String)| TableName {
                    database: database.clone(),
                    schema: schema.clone(),
                    name: name.clone(),
                };
                RestoreTarget::Tables(names.iter().map(name).collect())
            }
        };
        let mut statement = "RESTORE".to_owned();
        if !wanted.shown.is_empty() {
            statement = format!("{statement} {}", wanted.shown);
        }
        statement = format!("{statement} FROM {} IN {}", quoted(&path), quoted(&backup::without_secrets(&wanted.from.uri)));
        if let Some(as_of) = &wanted.as_of {
            statement = format!("{statement} AS OF SYSTEM TIME {}", quoted(as_of));
        }
        let into = catalog.database_by_id(wanted.database).filter(|_| wanted.database != self.database);
        let options = [
            wanted.new_name.as_ref().map(|name| format!("new_db_name = {}", quoted(name))),
            into.map(|database| format!("into_db = {}", quoted(&database.name))),
            wanted.skip_missing_foreign_keys.then(|| "skip_missing_foreign_keys".to_owned()),
            wanted.from.passphrase.as_ref().map(|_| "encryption_passphrase = 'redacted'".to_owned()),
            wanted.detached.then(|| "detached".to_owned()),
        ];
        let task = RestoreTask {
            uri: wanted.from.uri.clone(),
            path,
            as_of,
            target,
            new_name: wanted.new_name.clone(),
            database: wanted.database,
            skip_missing_foreign_keys: wanted.skip_missing_foreign_keys,
            key,
            user,
        };
        self.begin_job(JobKind::Restore, with_options(statement, options), task.encode(), None).await
    }

    async fn begin_job(
        &mut self,
        kind: JobKind,
        statement: String,
        details: Vec<u8>,
        protects: Option<Timestamp>,
    ) -> SqlResult<u64> {
        let (user, user_name) = (self.environment().user_id, self.current_user().to_owned());
        self.engine.jobs.create(NewJob { kind, statement, user, user_name, details, protects }).await
    }

    /// Waits for a job, unless nobody wants to; who is cancelled meanwhile cancels it.
    async fn answer_of_job(&mut self, id: u64, detached: bool) -> SqlResult<Vec<Vec<Datum>>> {
        if detached {
            return Ok(vec![vec![count(id)]]);
        }
        let job = tokio::select! {
            biased;
            job = self.engine.jobs.wait(id) => job?,
            error = self.cancel.cancelled() => {
                // It may have ended by now.
                if let Err(error) = self.engine.jobs.control(id, Verb::Cancel).await {
                    tracing::debug!(job = id, %error, "a job was not cancelled");
                }
                return Err(error);
            }
        };
        match job.status {
            JobStatus::Succeeded => {}
            JobStatus::Failed => return Err(failed(&job)),
            JobStatus::Canceled => return Err(SqlError::new(SqlState::QueryCanceled, format!("job {id} was canceled"))),
            JobStatus::Paused
            | JobStatus::Pending
            | JobStatus::Running
            | JobStatus::PauseRequested
            | JobStatus::CancelRequested => {
                return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, format!("job {id} was paused before it completed"))
                    .with_hint(format!("RESUME JOB {id} goes on with it.")));
            }
        }
        let status = Datum::text(job.status.name());
        Ok(vec![vec![count(id), status, Datum::Float(job.fraction()), count(job.rows), count(job.bytes)]])
    }

    async fn show_backup(&mut self, named: &NamedBackup) -> SqlResult<Vec<Vec<Datum>>> {
        self.check_files(&named.uri, READ_SERVER_FILES)?;
        let of = choice(&named.choice);
        let lines = or_cancelled(&self.cancel, backup::show_backup(&named.uri, &of, named.passphrase.as_deref())).await?;
        let row = |line: backup::ObjectLine| {
            vec![
                text(line.database),
                text(line.schema),
                Datum::text(line.name),
                Datum::text(line.kind),
                Datum::text(if line.is_full { "full" } else { "incremental" }),
                line.start.map_or(Datum::Null, Datum::TimestampTz),
                Datum::TimestampTz(line.end),
                line.size.map_or(Datum::Null, count),
                line.rows.map_or(Datum::Null, count),
                Datum::Bool(line.is_cluster),
            ]
        };
        Ok(lines.into_iter().map(row).collect())
    }

    /// One whose record cannot be read is a superuser's: whose it was is not known.
    fn may_see_job(&self, job: &FoundJob) -> bool {
        let environment = self.environment();
        let roles = self.roles();
        job.as_ref().is_ok_and(|job| job.user == environment.user_id) || roles.role_by_id(environment.user_id).is_some_and(|role| role.superuser)
    }

    /// # Errors
    /// 42501 for a job of another.
    fn check_own_job(&self, id: u64, job: &FoundJob) -> SqlResult<()> {
        match self.may_see_job(job) {
            true => Ok(()),
            false => Err(denied(format!("permission denied for job {id}"))
                .with_hint("Must be superuser or the user that began the job.")),
        }
    }

    async fn show_jobs(&mut self, id: Option<u64>) -> SqlResult<Vec<Vec<Datum>>> {
        let jobs = match id {
            Some(id) => {
                let job = self.engine.jobs.job(id).await?;
                self.check_own_job(id, &job)?;
                vec![job]
            }
            None => self.engine.jobs.jobs().await?.into_iter().filter(|job| self.may_see_job(job)).collect(),
        };
        let row = |job: FoundJob| {
            let job = match job {
                Ok(job) => job,
                Err(job) => {
                    let mut row = vec![Datum::Null; 11];
                    (row[0], row[4], row[9]) = (count(job.id), Datum::text("unreadable"), Datum::text(job.reason));
                    return row;
                }
            };
            let fraction = job.fraction();
            vec![
                count(job.id),
                Datum::text(job.kind.name()),
                Datum::text(job.statement),
                Datum::text(job.user_name),
                Datum::text(job.status.name()),
                time(Some(job.created)),
                time(job.started),
                time(job.finished),
                Datum::Float(fraction),
                text(job.error.map(|error| error.message)),
                job.lease.map_or(Datum::Null, |lease| count(lease.node.get())),
            ]
        };
        Ok(jobs.into_iter().map(row).collect())
    }
}

async fn or_cancelled<T>(cancel: &exec::CancelFlag, work: impl Future<Output = SqlResult<T>>) -> SqlResult<T> {
    tokio::select! {
        biased;
        done = work => done,
        error = cancel.cancelled() => Err(error),
    }
}

fn with_options<const N: usize>(statement: String, options: [Option<String>; N]) -> String {
    let given: Vec<String> = options.into_iter().flatten().collect();
    if given.is_empty() { statement } else { format!("{statement} WITH {}", given.join(", ")) }
}
