//! Large objects: what is read and written of them, and the descriptors under which a transaction has them open.
//!
//! How they are stored: [`catalog::large_object`]. All of it happens in the transaction at hand: others see it when that
//! has committed. A function sees what was written before it in the same statement: one row's `lowrite` follows another's.
//!
//! **Invariant (descriptors-end):** a descriptor is open until its transaction ends, or what it was opened in is rolled
//! back.

use bytes::Bytes;
use catalog::large_object::{
    self, ALL, FIRST_OID, LargeObject, PAGE_BYTES, comment_key, counter_key, object_key, page_key, page_of, pages_from, spans_of,
};
use catalog::privilege::{PrivilegeSet, denied, not_owner};
use keys::LockStrength;
use kv::{Read, ScanOptions, See, Txn};
use plan::LargeObjectOp;
use plan::statement::{Grant, LargeObjectChange};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use types::{Datum, SqlError, SqlResult, SqlState};

use crate::context::{ExecContext, read_only_error};
use crate::ddl::change_list;
use crate::error::from_kv;
use crate::server_files::{FileUser, available, file_error};

/// Of `lo_open`.
const READ: i64 = 0x4_0000;
const WRITE: i64 = 0x2_0000;
/// How long one may become: as in PostgreSQL, pages are counted with 31 bits.
const BYTES_MAX: u64 = i32::MAX as u64 * PAGE_BYTES as u64;
/// What one function answers or takes at a time.
const VALUE_BYTES_MAX: u64 = 0x3fff_ffff;
/// One read or write of a file.
const PIECE_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug)]
struct Descriptor {
    oid: u32,
    is_writable: bool,
    position: u64,
    /// How many were opened before it.
    number: u64,
}

/// The large objects that a transaction has open.
#[derive(Clone, Debug, Default)]
pub struct LargeObjects {
    open: Vec<Option<Descriptor>>,
    opened: u64,
}

impl LargeObjects {
    /// The transaction is over, or begins again.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// What was opened since is rolled back; the others stay where they stand.
    pub fn close_since(&mut self, then: &Self) {
        for descriptor in &mut self.open {
            *descriptor = descriptor.filter(|it| it.number < then.opened);
        }
    }

    fn insert(&mut self, oid: u32, is_writable: bool) -> i64 {
        let descriptor = Some(Descriptor { oid, is_writable, position: 0, number: self.opened });
        self.opened += 1;
        let at = self.open.iter().position(Option::is_none).unwrap_or(self.open.len());
        match self.open.get_mut(at) {
            Some(free) => *free = descriptor,
            None => self.open.push(descriptor),
        }
        at as i64
    }

    /// # Errors
    /// 42704.
    fn at(&mut self, number: i64) -> SqlResult<&mut Descriptor> {
        let found = usize::try_from(number).ok().and_then(|at| self.open.get_mut(at)).and_then(Option::as_mut);
        found.ok_or_else(|| {
            SqlError::new(SqlState::UndefinedObject, format!("invalid large-object descriptor: {number}"))
        })
    }
}

fn missing(oid: u32) -> SqlError {
    SqlError::new(SqlState::UndefinedObject, format!("large object {oid} does not exist"))
}

fn invalid(message: String) -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, message)
}

fn see_all() -> Read {
    Read { see: See::Now, ..Read::default() }
}

/// Before it is changed: other writers wait.
fn to_change() -> Read {
    Read { see: See::Now, lock: Some(LockStrength::Update), lock_absent: true, ..Read::default() }
}

/// One object of the transaction's database.
struct Stored<'a> {
    txn: &'a mut Txn,
    database: u32,
    oid: u32,
    /// What is read of its bytes: as of the statement, unless they are to be written.
    see: See,
}

impl Stored<'_> {
    async fn find(&mut self) -> SqlResult<Option<LargeObject>> {
        let read = Read { see: self.see, ..Read::default() };
        let value = self.txn.get(&object_key(self.database, self.oid), read).await.map_err(from_kv)?;
        value.map(|value| LargeObject::decode(&value).map_err(|error| damaged(self.oid, &error))).transpose()
    }

    async fn size(&mut self) -> SqlResult<u64> {
        let read = Read { see: self.see, ..Read::default() };
        let options = ScanOptions { read, max_rows: 1, reverse: true, ..ScanOptions::default() };
        let mut rest = Some(pages_from(self.database, self.oid, 0));
        while let Some(span) = rest {
            let found = self.txn.scan(&span, options).await.map_err(from_kv)?;
            if let Some((key, value)) = found.rows.iter().next() {
                let page = page_of(self.database, key).unwrap_or_default();
                return Ok(page * PAGE_BYTES as u64 + value.len() as u64);
            }
            rest = found.resume;
        }
        Ok(0)
    }

    /// What lies there, as far as the object goes; *pages-in-full*.
    async fn read(&mut self, at: u64, length: u64, memory: &crate::memory::MemoryBudget) -> SqlResult<Vec<u8>> {
        let mut reservation = memory.reservation();
        let mut out: Vec<u8> = Vec::new();
        let end = at.saturating_add(length).min(BYTES_MAX);
        if length == 0 || at >= end {
            return Ok(out);
        }
        let page_bytes = PAGE_BYTES as u64;
        let span = pages_from(self.database, self.oid, at / page_bytes);
        let last = page_key(self.database, self.oid, end.div_ceil(page_bytes));
        let mut rest = Some(keys::Span::new(span.start, last));
        let read = Read { see: self.see, ..Read::default() };
        let options = ScanOptions { read, max_bytes: 1 << 20, ..ScanOptions::default() };
        while let Some(span) = rest {
            let found = self.txn.scan(&span, options).await.map_err(from_kv)?;
            for (key, value) in found.rows.iter() {
                let Some(page) = page_of(self.database, key) else { continue };
                let start = page * page_bytes;
                // What was not stored before this page is zeros.
                let filled = start.saturating_sub(at).min(end - at);
                let grown = (filled as usize).saturating_sub(out.len()) + value.len();
                reservation.grow(grown)?;
                if out.len() < filled as usize {
                    out.resize(filled as usize, 0);
                }
                let from = at.saturating_sub(start).min(value.len() as u64) as usize;
                let until = (end.saturating_sub(start)).min(value.len() as u64) as usize;
                if from < until {
                    out.extend_from_slice(&value[from..until]);
                }
            }
            rest = found.resume;
        }
        // Pages behind what was asked for say that there are zeros before them.
        if (out.len() as u64) < end - at {
            let filled = self.size().await?.min(end).saturating_sub(at) as usize;
            if out.len() < filled {
                reservation.grow(filled - out.len())?;
                out.resize(filled, 0);
            }
        }
        Ok(out)
    }

    async fn write(&mut self, at: u64, data: &[u8]) -> SqlResult<()> {
        if at.saturating_add(data.len() as u64) > BYTES_MAX {
            return Err(invalid(format!("invalid large object write request size: {}", data.len())));
        }
        let (mut at, mut data) = (at, data);
        while !data.is_empty() {
            let (page, offset) = (at / PAGE_BYTES as u64, (at % PAGE_BYTES as u64) as usize);
            let (piece, rest) = data.split_at(data.len().min(PAGE_BYTES - offset));
            let key = page_key(self.database, self.oid, page);
            let value = match piece.len() {
                PAGE_BYTES => Bytes::copy_from_slice(piece),
                _ => {
                    let before = self.txn.get(&key, to_change()).await.map_err(from_kv)?.unwrap_or_default();
                    let mut value = before.to_vec();
                    value.resize(value.len().max(offset + piece.len()), 0);
                    value[offset..offset + piece.len()].copy_from_slice(piece);
                    value.into()
                }
            };
            self.txn.put(key, value);
            at += piece.len() as u64;
            data = rest;
        }
        self.txn.flush_if_large().await.map_err(from_kv)
    }

    /// Deletes its pages from one on.
    async fn delete_pages(&mut self, from: u64) -> SqlResult<()> {
        let options = ScanOptions { read: see_all(), max_bytes: 1 << 20, ..ScanOptions::default() };
        let mut rest = Some(pages_from(self.database, self.oid, from));
        while let Some(span) = rest {
            let found = self.txn.scan(&span, options).await.map_err(from_kv)?;
            for (key, _) in found.rows.iter() {
                self.txn.delete(keys::Key::from(key));
            }
            self.txn.check_size().map_err(from_kv)?;
            rest = found.resume;
        }
        Ok(())
    }

    async fn truncate(&mut self, length: u64) -> SqlResult<()> {
        let (page, offset) = (length / PAGE_BYTES as u64, (length % PAGE_BYTES as u64) as usize);
        let key = page_key(self.database, self.oid, page);
        let before = self.txn.get(&key, to_change()).await.map_err(from_kv)?.unwrap_or_default();
        self.delete_pages(page + 1).await?;
        let mut value = before.to_vec();
        value.resize(offset, 0);
        // An object that ends with a full page needs no empty one behind it, unless that page is not stored.
        let is_needed = offset > 0 || length > 0 && self.size_before(page).await? < length;
        match is_needed {
            true => self.txn.put(key, value.into()),
            false => self.txn.delete(key),
        }
        Ok(())
    }

    /// How long it is without its pages from one on.
    async fn size_before(&mut self, page: u64) -> SqlResult<u64> {
        let Some(last) = page.checked_sub(1) else { return Ok(0) };
        let value = self.txn.get(&page_key(self.database, self.oid, last), see_all()).await.map_err(from_kv)?;
        Ok(value.map_or(0, |value| last * PAGE_BYTES as u64 + value.len() as u64))
    }

    /// # Errors
    /// 23505 when there is one.
    async fn create(&mut self, owner: u32) -> SqlResult<()> {
        let key = object_key(self.database, self.oid);
        if self.txn.get(&key, to_change()).await.map_err(from_kv)?.is_some() {
            let constraint = "pg_largeobject_metadata_oid_index";
            let message = format!("duplicate key value violates unique constraint \"{constraint}\"");
            return Err(SqlError::new(SqlState::UniqueViolation, message)
                .with_detail(format!("Key (oid)=({}) already exists.", self.oid))
                .with_schema("pg_catalog")
                .with_table("pg_largeobject_metadata")
                .with_constraint(constraint));
        }
        self.txn.put(key, LargeObject::new(owner).encode());
        // Who wrote to one of this oid while it was removed has left pages.
        self.delete_pages(0).await
    }

    async fn remove(&mut self) -> SqlResult<()> {
        self.txn.delete(object_key(self.database, self.oid));
        self.txn.delete(comment_key(self.database, self.oid));
        self.delete_pages(0).await
    }
}

fn damaged(oid: u32, error: &keys::tagged::Malformed) -> SqlError {
    SqlError::new(SqlState::DataCorrupted, format!("large object {oid} is damaged: {error}"))
}

/// An oid that no object of the database has. Those that are given out grow; few were asked for by number.
async fn free_oid(txn: &mut Txn, database: u32) -> SqlResult<u32> {
    for _ in 0..10_000 {
        let count = txn.db().increment(&counter_key(), 1).await.map_err(from_kv)?;
        let span = i64::from(u32::MAX) - FIRST_OID;
        let oid = u32::try_from(FIRST_OID + (count - 1).rem_euclid(span)).unwrap_or(u32::MAX);
        let mut stored = Stored { txn: &mut *txn, database, oid, see: See::Now };
        if stored.find().await?.is_none() {
            return Ok(oid);
        }
    }
    Err(SqlError::new(SqlState::ProgramLimitExceeded, "no oid for a large object was found"))
}

impl ExecContext<'_> {
    fn stored(&mut self, oid: u32) -> SqlResult<Stored<'_>> {
        let database = self.database;
        Ok(Stored { txn: self.txn()?, database, oid, see: See::Now })
    }

    /// To be read only.
    fn stored_as_of_statement(&mut self, oid: u32) -> SqlResult<Stored<'_>> {
        Ok(Stored { see: See::StatementStart, ..self.stored(oid)? })
    }

    fn is_compatible(&self) -> bool {
        self.eval.host.setting("lo_compat_privileges").is_some_and(|value| value == "on")
    }

    /// # Errors
    /// 42704 where there is none, 42501 where the user may not.
    async fn large_object_for(&mut self, oid: u32, wanted: PrivilegeSet) -> SqlResult<LargeObject> {
        // What is to be read is there when the statement begins.
        let mut stored = if wanted.has(ALL) { self.stored(oid)? } else { self.stored_as_of_statement(oid)? };
        let object = stored.find().await?.ok_or_else(|| missing(oid))?;
        let access = self.catalog.access(self.database);
        if wanted.is_empty() || self.is_compatible() || access.is_superuser(self.user) {
            return Ok(object);
        }
        let found = object.acl().privileges_of(self.user, wanted, &|role, of| access.has_role(role, of));
        if found.has(wanted) { Ok(object) } else { Err(denied("large object", &oid.to_string())) }
    }

    /// # Errors
    /// 42704 and 42501.
    async fn own_large_object(&mut self, oid: u32) -> SqlResult<LargeObject> {
        let object = self.stored(oid)?.find().await?.ok_or_else(|| missing(oid))?;
        let access = self.catalog.access(self.database);
        let owns = self.is_compatible() || access.is_superuser(self.user) || access.has_role(self.user, object.owner);
        if owns { Ok(object) } else { Err(not_owner("large object", &oid.to_string())) }
    }

    /// Files of the server are the superuser's, as PostgreSQL's grants on these functions have it.
    fn check_may_use_files(&self, op: LargeObjectOp) -> SqlResult<()> {
        if self.catalog.access(self.database).is_superuser(self.user) {
            return Ok(());
        }
        Err(denied("function", op.name()))
    }

    async fn create_large_object(&mut self, oid: u32) -> SqlResult<u32> {
        let (database, user) = (self.database, self.user);
        let oid = if oid == 0 { free_oid(self.txn()?, database).await? } else { oid };
        self.stored(oid)?.create(user).await?;
        Ok(oid)
    }

    /// Runs a function of large objects.
    ///
    /// # Errors
    /// What is wrong with its arguments, and those of reads and writes.
    pub(crate) async fn large_object(&mut self, op: LargeObjectOp, args: &[Datum]) -> SqlResult<Datum> {
        use LargeObjectOp as Op;
        // All of them are strict.
        if args.iter().any(Datum::is_null) {
            return Ok(Datum::Null);
        }
        let int = |at: usize| args.get(at).and_then(Datum::as_int).unwrap_or_default();
        let oid = |at: usize| u32::try_from(int(at)).unwrap_or_default();
        let bytes = |at: usize| args.get(at).and_then(Datum::as_bytes).unwrap_or_default();
        let text = |at: usize| args.get(at).and_then(Datum::as_str).unwrap_or_default();
        if writes(op, int(1)) && self.read_only {
            return Err(read_only_error(&format!("{}()", op.name())));
        }
        Ok(match op {
            Op::Creat => oid_datum(self.create_large_object(0).await?),
            Op::Create => oid_datum(self.create_large_object(oid(0)).await?),
            Op::FromBytea => {
                let made = self.create_large_object(oid(0)).await?;
                self.stored(made)?.write(0, bytes(1)).await?;
                oid_datum(made)
            }
            Op::Import | Op::ImportAs => {
                self.check_may_use_files(op)?;
                let wanted = if op == Op::ImportAs { oid(1) } else { 0 };
                oid_datum(self.import_large_object(text(0), wanted).await?)
            }
            Op::Export => {
                self.check_may_use_files(op)?;
                self.export_large_object(oid(0), text(1)).await?;
                Datum::Int(1)
            }
            Op::Open => Datum::Int(self.open_large_object(oid(0), int(1)).await?),
            Op::Close => {
                self.state.large_objects.at(int(0))?;
                self.state.large_objects.open[int(0) as usize] = None;
                Datum::Int(0)
            }
            Op::Read => {
                let descriptor = *self.state.large_objects.at(int(0))?;
                let length = u64::try_from(int(1)).unwrap_or(0);
                let memory = self.memory.clone();
                let mut stored = match descriptor.is_writable {
                    true => self.stored(descriptor.oid)?,
                    false => self.stored_as_of_statement(descriptor.oid)?,
                };
                let data = stored.read(descriptor.position, length, &memory).await?;
                self.state.large_objects.at(int(0))?.position += data.len() as u64;
                Datum::bytes(data)
            }
            Op::Write => {
                let descriptor = self.writable(int(0))?;
                self.stored(descriptor.oid)?.write(descriptor.position, bytes(1)).await?;
                self.state.large_objects.at(int(0))?.position += bytes(1).len() as u64;
                Datum::Int(bytes(1).len() as i64)
            }
            Op::Seek { is_long } => self.seek_large_object(int(0), int(1), int(2), is_long).await?,
            Op::Tell { is_long } => {
                let position = self.state.large_objects.at(int(0))?.position;
                position_datum("lo_tell", int(0), position, is_long)?
            }
            Op::Truncate { .. } => {
                let descriptor = self.writable(int(0))?;
                let length = u64::try_from(int(1)).ok().filter(|length| *length <= BYTES_MAX);
                let Some(length) = length else {
                    return Err(invalid(format!("invalid large object truncation target: {}", int(1))));
                };
                self.stored(descriptor.oid)?.truncate(length).await?;
                Datum::Int(0)
            }
            Op::Unlink => {
                self.own_large_object(oid(0)).await?;
                for open in &mut self.state.large_objects.open {
                    *open = open.filter(|descriptor| descriptor.oid != oid(0));
                }
                self.stored(oid(0))?.remove().await?;
                Datum::Int(1)
            }
            Op::Get => Datum::bytes(self.part_of_large_object(oid(0), 0, None).await?),
            Op::GetPart => {
                let Ok(length) = u64::try_from(int(2)) else {
                    return Err(invalid("requested length cannot be negative".to_owned()));
                };
                Datum::bytes(self.part_of_large_object(oid(0), int(1), Some(length)).await?)
            }
            Op::Put => {
                self.large_object_for(oid(0), ALL).await?;
                let at = position(int(1))?;
                self.stored(oid(0))?.write(at, bytes(2)).await?;
                Datum::text("")
            }
            Op::Comment => {
                let key = comment_key(self.database, oid(0));
                let found = self.txn()?.get(&key, Read::default()).await.map_err(from_kv)?;
                found.map_or(Datum::Null, |text| Datum::text(String::from_utf8_lossy(&text).into_owned()))
            }
        })
    }

    async fn open_large_object(&mut self, oid: u32, flags: i64) -> SqlResult<i64> {
        let wanted = match (flags & WRITE != 0, flags & READ != 0) {
            // Who writes may read.
            (true, _) => ALL,
            (false, true) => PrivilegeSet::SELECT,
            (false, false) => {
                return Err(invalid(format!("invalid flags for opening a large object: {flags}")));
            }
        };
        self.large_object_for(oid, wanted).await?;
        Ok(self.state.large_objects.insert(oid, flags & WRITE != 0))
    }

    fn writable(&mut self, number: i64) -> SqlResult<Descriptor> {
        let descriptor = *self.state.large_objects.at(number)?;
        if !descriptor.is_writable {
            let message = format!("large object descriptor {number} was not opened for writing");
            return Err(SqlError::new(SqlState::ObjectNotInPrerequisiteState, message));
        }
        Ok(descriptor)
    }

    async fn seek_large_object(&mut self, number: i64, by: i64, whence: i64, is_long: bool) -> SqlResult<Datum> {
        let descriptor = *self.state.large_objects.at(number)?;
        let from = match whence {
            0 => 0,
            1 => descriptor.position,
            2 => self.stored(descriptor.oid)?.size().await?,
            _ => return Err(invalid(format!("invalid whence setting: {whence}"))),
        };
        let target = from.checked_add_signed(by).filter(|target| *target <= BYTES_MAX);
        let Some(target) = target else {
            let shown = i128::from(from) + i128::from(by);
            return Err(invalid(format!("invalid large object seek target: {shown}")));
        };
        let answer = position_datum("lo_lseek", number, target, is_long)?;
        self.state.large_objects.at(number)?.position = target;
        Ok(answer)
    }

    async fn part_of_large_object(&mut self, oid: u32, at: i64, length: Option<u64>) -> SqlResult<Vec<u8>> {
        self.large_object_for(oid, PrivilegeSet::SELECT).await?;
        let at = position(at)?;
        let memory = self.memory.clone();
        let mut stored = self.stored_as_of_statement(oid)?;
        let left = stored.size().await?.saturating_sub(at);
        let length = length.map_or(left, |length| length.min(left));
        if length > VALUE_BYTES_MAX {
            return Err(invalid("large object read request is too large".to_owned()));
        }
        stored.read(at, length, &memory).await
    }

    async fn import_large_object(&mut self, path: &str, wanted: u32) -> SqlResult<u32> {
        let files = self.state.files.clone();
        let mut file = available(files.as_deref())?.read(path, FileUser::LargeObject).await?;
        let oid = self.create_large_object(wanted).await?;
        let (mut piece, mut at) = (vec![0; PIECE_BYTES], 0);
        loop {
            self.cancel.check()?;
            let failed = |error: &std::io::Error| file_error("read server", path, error);
            let read = file.read(&mut piece).await.map_err(|error| failed(&error))?;
            if read == 0 {
                return Ok(oid);
            }
            self.stored(oid)?.write(at, &piece[..read]).await?;
            at += read as u64;
        }
    }

    async fn export_large_object(&mut self, oid: u32, path: &str) -> SqlResult<()> {
        self.large_object_for(oid, PrivilegeSet::NONE).await?;
        let files = self.state.files.clone();
        let mut file = available(files.as_deref())?.write(path, FileUser::LargeObject).await?;
        let memory = self.memory.clone();
        let failed = |error: &std::io::Error| file_error("write server", path, error);
        let mut at = 0;
        loop {
            self.cancel.check()?;
            let piece = self.stored(oid)?.read(at, PIECE_BYTES as u64, &memory).await?;
            if piece.is_empty() {
                return file.flush().await.map_err(|error| failed(&error));
            }
            file.write_all(&piece).await.map_err(|error| failed(&error))?;
            at += piece.len() as u64;
        }
    }

    /// GRANT, REVOKE, ALTER and COMMENT of large objects; what is to be told goes to `notices`.
    ///
    /// # Errors
    /// 42704, 42501, and those of grants.
    pub async fn change_large_objects(
        &mut self,
        oids: &[u32],
        change: &LargeObjectChange,
        notices: &mut Vec<(SqlState, String)>,
    ) -> SqlResult<()> {
        for oid in oids {
            let key = object_key(self.database, *oid);
            match change {
                LargeObjectChange::Owner(to) => {
                    let object = self.own_large_object(*oid).await?;
                    self.check_may_give(*to)?;
                    let acl = object.acl.map(|acl| acl.with_owner(object.owner, *to));
                    self.txn()?.put(key, LargeObject { owner: *to, acl }.encode());
                }
                LargeObjectChange::Comment(text) => {
                    self.own_large_object(*oid).await?;
                    let key = comment_key(self.database, *oid);
                    match text.as_deref().filter(|text| !text.is_empty()) {
                        Some(text) => self.txn()?.put(key, Bytes::copy_from_slice(text.as_bytes())),
                        None => self.txn()?.delete(key),
                    }
                }
                LargeObjectChange::Grant { grant, privileges, is_all } => {
                    let object = self.stored(*oid)?.find().await?.ok_or_else(|| missing(*oid))?;
                    let changed = self.granted(*oid, &object, grant, (*privileges, *is_all), notices)?;
                    if let Some(acl) = changed {
                        self.txn()?.put(key, LargeObject { owner: object.owner, acl: Some(acl) }.encode());
                    }
                }
            }
        }
        Ok(())
    }

    fn granted(
        &self,
        oid: u32,
        object: &LargeObject,
        grant: &Grant,
        (privileges, is_all): (PrivilegeSet, bool),
        notices: &mut Vec<(SqlState, String)>,
    ) -> SqlResult<Option<catalog::privilege::Acl>> {
        let access = self.catalog.access(self.database);
        let acl = object.acl();
        let has_role = |role, of| access.has_role(role, of);
        let has_any = !acl
            .privileges_of(self.user, ALL, &has_role)
            .union(acl.options_of(self.user, object.owner, ALL, &has_role))
            .is_empty();
        if !has_any && !access.is_superuser(self.user) {
            return Err(denied("large object", &oid.to_string()));
        }
        let shown = format!("\"large object {oid}\"");
        change_list(grant, (privileges, is_all), &shown, (object.owner, &acl), &access, self.user, notices)
    }

    fn check_may_give(&self, to: u32) -> SqlResult<()> {
        let access = self.catalog.access(self.database);
        if access.is_superuser(self.user) || access.has_role(self.user, to) {
            return Ok(());
        }
        let name = self.catalog.role_by_id(to).map_or("", |role| role.name.as_str());
        Err(SqlError::new(SqlState::InsufficientPrivilege, format!("must be member of role \"{name}\"")))
    }
}

fn writes(op: LargeObjectOp, flags: i64) -> bool {
    use LargeObjectOp as Op;
    match op {
        Op::Creat | Op::Create | Op::FromBytea | Op::Import | Op::ImportAs | Op::Write | Op::Truncate { .. }
        | Op::Unlink | Op::Put => true,
        Op::Open => flags & WRITE != 0,
        Op::Export | Op::Close | Op::Read | Op::Seek { .. } | Op::Tell { .. } | Op::Get | Op::GetPart | Op::Comment => false,
    }
}

fn oid_datum(oid: u32) -> Datum {
    Datum::Int(oid.into())
}

fn position(at: i64) -> SqlResult<u64> {
    let found = u64::try_from(at).ok().filter(|at| *at <= BYTES_MAX);
    found.ok_or_else(|| invalid(format!("invalid large object seek target: {at}")))
}

fn position_datum(name: &str, number: i64, position: u64, is_long: bool) -> SqlResult<Datum> {
    let fits = is_long || i32::try_from(position).is_ok();
    if !fits {
        let message = format!("{name} result out of range for large-object descriptor {number}");
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, message));
    }
    Ok(Datum::Int(i64::try_from(position).unwrap_or(i64::MAX)))
}

/// What of a database is cleared when it is dropped.
pub(crate) fn garbage_of(database: u32) -> [keys::Span; 3] {
    spans_of(database)
}

/// Gives those of some roles to another: REASSIGN OWNED.
pub(crate) async fn reassign(txn: &mut Txn, database: u32, roles: &[u32], to: u32) -> SqlResult<()> {
    for (oid, object) in large_object::all(txn, database).await.map_err(from_kv)? {
        if roles.contains(&object.owner) {
            let acl = object.acl.map(|acl| acl.with_owner(object.owner, to));
            txn.put(object_key(database, oid), LargeObject { owner: to, acl }.encode());
        }
    }
    Ok(())
}

/// Removes those of some roles, and what is granted to these on others: DROP OWNED.
pub(crate) async fn drop_owned(txn: &mut Txn, database: u32, roles: &[u32]) -> SqlResult<()> {
    for (oid, object) in large_object::all(txn, database).await.map_err(from_kv)? {
        if roles.contains(&object.owner) {
            Stored { txn: &mut *txn, database, oid, see: See::Now }.remove().await?;
            continue;
        }
        let Some(mut acl) = object.acl else { continue };
        let before = acl.0.len();
        acl.0.retain(|item| !roles.contains(&item.grantee) && !roles.contains(&item.grantor));
        if acl.0.len() != before {
            txn.put(object_key(database, oid), LargeObject { owner: object.owner, acl: Some(acl) }.encode());
        }
    }
    Ok(())
}

/// Why a role cannot be dropped: what it owns of them and what is granted to it, each with its database.
pub(crate) async fn reasons(txn: &mut Txn, databases: &[u32], role: u32) -> SqlResult<Vec<(u32, String)>> {
    let mut found = Vec::new();
    for database in databases {
        for (oid, object) in large_object::all(txn, *database).await.map_err(from_kv)? {
            if object.owner == role {
                found.push((*database, format!("owner of large object {oid}")));
            } else if object.acl.is_some_and(|acl| acl.roles().any(|it| it == role)) {
                found.push((*database, format!("privileges for large object {oid}")));
            }
        }
    }
    Ok(found)
}
