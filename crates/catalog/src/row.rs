//! Rows and index entries as keys and values.
//!
//! ```text
//! primary entry     /table/1/<key columns>                       -> all columns that the key does not give back
//! unique entry      /table/i/<columns>                           -> the primary key's columns, then INCLUDE columns
//!   with a NULL     /table/i/<columns>/<primary key columns>     -> INCLUDE columns   (NULLs do not collide)
//! other entry       /table/i/<columns>/<primary key columns>     -> INCLUDE columns
//! inverted entries  /table/i/<place>/<key>/<primary key columns> -> nothing           (one for each key of each column)
//! ```
//!
//! A column whose key gives back only a canonical form (1.0 for 1.00) is kept in the value as well:
//! *composite-value-kept*.

use std::sync::Arc;

use bytes::Bytes;
use keys::{ColumnId, Key, Span, encoding::put_uvarint, keyspace};
use types::{
    ColumnVec, Datum, Direction, NullsOrder, RowDecoder, RowEncoder, SqlType, WantedColumn, decode_key, encode_key,
    inverted::{self, KeyClass},
};

use crate::descriptor::{Index, Table};

/// A stored row or entry that cannot be read: the store is damaged, or a newer program wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {key} of table \"{table}\" is damaged")]
pub struct EntryError {
    pub table: String,
    pub key: Key,
}

#[derive(Clone, Debug)]
struct KeyColumn {
    position: usize,
    ty: SqlType,
    direction: Direction,
    nulls: NullsOrder,
}

/// Encodes the entries of one index.
#[derive(Clone, Debug)]
pub struct IndexCodec {
    prefix: Vec<u8>,
    is_primary: bool,
    unique: bool,
    nulls_not_distinct: bool,
    /// Of an inverted index: how each column of the key gives keys.
    inverted: Vec<KeyClass>,
    key: Vec<KeyColumn>,
    primary_key: Vec<KeyColumn>,
    /// Columns kept in the value, by rising id.
    value: Vec<(ColumnId, usize, SqlType)>,
    /// Kept in the value only where the key does not end in the primary key.
    primary_in_value: Vec<(ColumnId, usize, SqlType)>,
}

fn key_columns(table: &Table, index: &Index) -> Vec<KeyColumn> {
    index
        .columns
        .iter()
        .map(|column| {
            let position =
                table.column_position(column.column).expect("an index is dropped with the last of its columns");
            let ty = table.columns[position].ty;
            KeyColumn { position, ty, direction: column.direction, nulls: column.nulls }
        })
        .collect()
}

impl IndexCodec {
    #[must_use]
    pub fn new(table: &Table, index: &Index) -> Self {
        let key = key_columns(table, index);
        let primary_key = key_columns(table, table.primary());
        let is_primary = index.id == table.primary().id;
        let in_key = |position: usize| {
            key.iter().any(|column| column.position == position && !column.ty.key_is_composite())
        };
        let mut value: Vec<(ColumnId, usize, SqlType)> = if is_primary {
            let stored = table.columns.iter().enumerate().filter(|(position, _)| !in_key(*position));
            stored.map(|(position, column)| (column.id, position, column.ty)).collect()
        } else {
            index
                .included
                .iter()
                .filter_map(|id| table.column_position(*id).map(|position| (*id, position, table.columns[position].ty)))
                .collect()
        };
        value.sort_by_key(|(id, ..)| *id);
        let mut primary_in_value: Vec<(ColumnId, usize, SqlType)> = primary_key
            .iter()
            .map(|column| (table.columns[column.position].id, column.position, column.ty))
            .collect();
        primary_in_value.extend(value.iter().copied());
        primary_in_value.sort_by_key(|(id, ..)| *id);
        primary_in_value.dedup_by_key(|(id, ..)| *id);
        Self {
            prefix: keyspace::index(table.storage_id(), index.id).as_bytes().to_vec(),
            is_primary,
            unique: index.unique,
            nulls_not_distinct: index.nulls_not_distinct,
            inverted: index.details.inverted.clone(),
            key,
            primary_key,
            value,
            primary_in_value,
        }
    }

    /// Everything in the index.
    #[must_use]
    pub fn span(&self) -> Span {
        Span::prefix(Key::from(self.prefix.clone()))
    }

    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    #[must_use]
    pub fn is_unique(&self) -> bool {
        self.unique
    }

    /// Whether a row has an entry for each key of each column, and none for all of them together.
    #[must_use]
    pub fn is_inverted(&self) -> bool {
        !self.inverted.is_empty()
    }

    /// How a column of an inverted index gives keys.
    #[must_use]
    pub fn key_class(&self, place: usize) -> KeyClass {
        self.inverted.get(place).copied().unwrap_or(KeyClass::Whole)
    }

    /// What the entries of one key of a column begin with.
    #[must_use]
    pub fn entry_prefix(&self, place: usize, key: &[u8]) -> Vec<u8> {
        let mut prefix = Vec::with_capacity(self.prefix.len() + key.len() + 16);
        prefix.extend_from_slice(&self.prefix);
        put_uvarint(&mut prefix, place as u64);
        prefix.extend_from_slice(key);
        prefix
    }

    /// The keys of the entries that a row has in an inverted index, in their order.
    #[must_use]
    pub fn inverted_keys(&self, row: &[Datum]) -> Vec<Key> {
        let mut row_key = Vec::new();
        for column in &self.primary_key {
            encode_key(&mut row_key, &column.ty, &row[column.position], column.direction, column.nulls);
        }
        let mut keys = Vec::new();
        for (place, (column, class)) in self.key.iter().zip(&self.inverted).enumerate() {
            for key in inverted::entry_keys(*class, &column.ty, &row[column.position]) {
                let mut entry = self.entry_prefix(place, &key);
                entry.extend_from_slice(&row_key);
                keys.push(entry.into());
            }
        }
        keys
    }

    /// The value of entries that say all by their keys.
    #[must_use]
    pub fn empty_value() -> Bytes {
        RowEncoder::new().finish().into()
    }

    /// Whether two rows have the same entries in an inverted index; where it is not known at once they may have.
    #[must_use]
    pub fn has_same_values(&self, a: &[Datum], b: &[Datum]) -> bool {
        self.key.iter().chain(&self.primary_key).all(|column| a[column.position] == b[column.position])
    }

    /// Whether the values that make the entries of two rows are equal. Equal values need not be the same, as of numerics;
    /// of values that are not equal, the entries are not the same.
    #[must_use]
    pub fn has_equal_values(&self, a: &[Datum], b: &[Datum]) -> bool {
        let values = self.value.iter().chain(&self.primary_in_value);
        self.has_same_values(a, b) && values.into_iter().all(|(_, position, _)| a[*position] == b[*position])
    }

    /// Whether two rows have the same key here; where it is not known at once they may have.
    #[must_use]
    pub fn has_same_key(&self, a: &[Datum], b: &[Datum]) -> bool {
        self.key.iter().chain(&self.primary_key).all(|column| is_same(&a[column.position], &b[column.position]))
    }

    /// Whether two rows have the same entry, key and value; where it is not known at once they may have.
    #[must_use]
    pub fn has_same_entry(&self, a: &[Datum], b: &[Datum]) -> bool {
        let mut values = self.value.iter().chain(&self.primary_in_value);
        self.has_same_key(a, b) && values.all(|(_, position, _)| is_same(&a[*position], &b[*position]))
    }

    /// Positions in the table of the columns that make its entries, in order.
    #[must_use]
    pub fn positions(&self) -> Vec<usize> {
        let keys = self.key.iter().chain(&self.primary_key).map(|column| column.position);
        let values = self.value.iter().chain(&self.primary_in_value).map(|(_, position, _)| *position);
        let mut positions: Vec<usize> = keys.chain(values).collect();
        positions.sort_unstable();
        positions.dedup();
        positions
    }

    /// Positions in the table of the key columns.
    pub fn key_positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.key.iter().map(|column| column.position)
    }

    /// Appends one column of the key, by its place in the key.
    pub fn put_key_column(&self, out: &mut Vec<u8>, place: usize, datum: &Datum) {
        let column = &self.key[place];
        encode_key(out, &column.ty, datum, column.direction, column.nulls);
    }

    /// How many columns the key has.
    #[must_use]
    pub fn key_len(&self) -> usize {
        self.key.len()
    }

    #[must_use]
    pub fn key_column(&self, place: usize) -> (SqlType, Direction, NullsOrder) {
        let column = &self.key[place];
        (column.ty, column.direction, column.nulls)
    }

    /// Whether no other row may have this one's key: NULLs are equal to each other under NULLS NOT DISTINCT alone.
    #[must_use]
    pub fn is_unique_of(&self, row: &[Datum]) -> bool {
        self.unique && (self.nulls_not_distinct || self.key.iter().all(|column| !row[column.position].is_null()))
    }

    /// A key that other entries cannot share ends after its columns.
    fn ends_with_columns(&self, row: &[Datum]) -> bool {
        self.is_primary || self.is_unique_of(row)
    }

    /// The entry of a row: its key and value.
    #[must_use]
    pub fn encode(&self, row: &[Datum]) -> (Key, Bytes) {
        let mut value = Vec::with_capacity(64);
        self.encode_value(row, &mut value);
        (self.encode_key(row), value.into())
    }

    /// Appends the value of a row's entry.
    pub fn encode_value(&self, row: &[Datum], out: &mut Vec<u8>) {
        let kept = if !self.is_primary && self.ends_with_columns(row) { &self.primary_in_value } else { &self.value };
        let mut encoder = RowEncoder::onto(std::mem::take(out));
        for (id, position, ty) in kept {
            if self.is_primary && row[*position].is_null() {
                // Not left out: a column added later has another value where it is missing.
                encoder.push_null(*id);
            } else {
                encoder.push(*id, ty, &row[*position]);
            }
        }
        *out = encoder.finish();
    }

    #[must_use]
    pub fn encode_key(&self, row: &[Datum]) -> Key {
        let mut key = Vec::with_capacity(self.prefix.len() + self.key.len() * 10);
        key.extend_from_slice(&self.prefix);
        for column in &self.key {
            encode_key(&mut key, &column.ty, &row[column.position], column.direction, column.nulls);
        }
        if !self.ends_with_columns(row) {
            for column in &self.primary_key {
                encode_key(&mut key, &column.ty, &row[column.position], column.direction, column.nulls);
            }
        }
        key.into()
    }
}

/// Whether two values are stored as the same bytes; false also where that would have to be looked for.
fn is_same(a: &Datum, b: &Datum) -> bool {
    match (a, b) {
        (Datum::Jsonb(a), Datum::Jsonb(b)) => Arc::ptr_eq(a, b),
        (Datum::Array(a), Datum::Array(b)) => Arc::ptr_eq(a, b),
        (Datum::Record(a), Datum::Record(b)) => Arc::ptr_eq(a, b),
        (Datum::Range(a), Datum::Range(b)) => Arc::ptr_eq(a, b),
        (Datum::MultiRange(a), Datum::MultiRange(b)) => Arc::ptr_eq(a, b),
        (Datum::Geometry(a), Datum::Geometry(b)) => Arc::ptr_eq(a, b),
        (Datum::Bits(a), Datum::Bits(b)) => Arc::ptr_eq(a, b),
        (Datum::Float(a), Datum::Float(b)) => a.to_bits() == b.to_bits(),
        (Datum::Numeric(a), Datum::Numeric(b)) => a.as_small().is_some() && a.as_small() == b.as_small(),
        (
            Datum::Null
            | Datum::Bool(_)
            | Datum::Int(_)
            | Datum::Text(_)
            | Datum::Bytes(_)
            | Datum::Date(_)
            | Datum::Time(_)
            | Datum::TimeTz(_)
            | Datum::Timestamp(_)
            | Datum::TimestampTz(_)
            | Datum::Interval(_)
            | Datum::Uuid(_)
            | Datum::Json(_)
            | Datum::Inet(_)
            | Datum::MacAddr(_)
            | Datum::MacAddr8(_)
            | Datum::Enum(_),
            _,
        ) => a == b,
        (
            Datum::Jsonb(_)
            | Datum::Array(_)
            | Datum::Record(_)
            | Datum::Range(_)
            | Datum::MultiRange(_)
            | Datum::Geometry(_)
            | Datum::Bits(_)
            | Datum::Float(_)
            | Datum::Numeric(_)
            | Datum::TsVector(_)
            | Datum::TsQuery(_)
            | Datum::JsonPath(_),
            _,
        ) => false,
    }
}

/// Where a wanted column of an index is found in its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Key(usize),
    /// Among the primary key's columns, which follow the key or are in the value.
    PrimaryKey(usize),
}

/// Reads wanted columns out of the entries of one index.
#[derive(Clone, Debug)]
pub struct EntryReader {
    table_name: String,
    codec: IndexCodec,
    /// What to take from the key, if anything: slot and source, in the order of the key.
    from_key: Vec<(usize, Source)>,
    value: RowDecoder,
    /// The primary key of a unique entry, whose key does not end in it.
    primary_in_value: RowDecoder,
    types: Vec<SqlType>,
}

impl EntryReader {
    /// `columns` are positions in the table, in output order; every one must be covered by the index: see
    /// [`EntryReader::covers`].
    #[must_use]
    pub fn new(table: &Table, index: &Index, columns: &[usize]) -> Self {
        let codec = IndexCodec::new(table, index);
        let mut from_key = Vec::new();
        let mut wanted = Vec::new();
        for (slot, &position) in columns.iter().enumerate() {
            let column = &table.columns[position];
            let in_key = codec.key.iter().position(|key| key.position == position && !key.ty.key_is_composite());
            let in_primary =
                codec.primary_key.iter().position(|key| key.position == position && !key.ty.key_is_composite());
            if let Some(place) = in_key {
                from_key.push((slot, Source::Key(place)));
            } else if let (false, Some(place)) = (codec.is_primary, in_primary) {
                from_key.push((slot, Source::PrimaryKey(place)));
            } else {
                wanted.push(WantedColumn { id: column.id, ty: column.ty, slot, missing: column.missing.clone() });
            }
        }
        from_key.sort_by_key(|(_, source)| *source);
        let types = columns.iter().map(|&position| table.columns[position].ty).collect();
        let primary_in_value = (codec.primary_key.iter().enumerate())
            .map(|(slot, key)| {
                let id = table.columns[key.position].id;
                WantedColumn { id, ty: key.ty, slot, missing: Datum::Null }
            })
            .collect();
        Self {
            table_name: table.name.clone(),
            codec,
            from_key,
            value: RowDecoder::new(wanted),
            primary_in_value: RowDecoder::new(primary_in_value),
            types,
        }
    }

    /// Whether the entries of an index hold this column in full.
    #[must_use]
    pub fn covers(table: &Table, index: &Index, position: usize) -> bool {
        if index.id == table.primary().id {
            return true;
        }
        if index.is_inverted() {
            return false;
        }
        let column = &table.columns[position];
        let id = column.id;
        if index.included.contains(&id) {
            return true;
        }
        let key = index.columns.iter().chain(&table.primary().columns);
        !column.ty.key_is_composite() && key.map(|column| column.column).any(|key| key == id)
    }

    #[must_use]
    pub fn new_columns(&self) -> Vec<ColumnVec> {
        self.types.iter().map(ColumnVec::new).collect()
    }

    fn damaged(&self, key: &[u8]) -> EntryError {
        EntryError { table: self.table_name.clone(), key: Key::from(key) }
    }

    /// Appends one entry's columns.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn read_into(&self, key: &[u8], value: &[u8], out: &mut [ColumnVec]) -> Result<(), EntryError> {
        self.value.decode_into(value, out).map_err(|_| self.damaged(key))?;
        if !self.from_key.is_empty() {
            self.read_key(key, value, |slot, datum| out[slot].push(&datum))?;
        }
        Ok(())
    }

    /// Sets `out[slot]` for every column.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn read_datums(&self, key: &[u8], value: &[u8], out: &mut [Datum]) -> Result<(), EntryError> {
        self.value.decode_datums(value, out).map_err(|_| self.damaged(key))?;
        if !self.from_key.is_empty() {
            self.read_key(key, value, |slot, datum| out[slot] = datum)?;
        }
        Ok(())
    }

    fn read_key(&self, key: &[u8], value: &[u8], mut put: impl FnMut(usize, Datum)) -> Result<(), EntryError> {
        let mut rest = key.strip_prefix(&self.codec.prefix[..]).ok_or_else(|| self.damaged(key))?;
        let mut wanted = self.from_key.iter().peekable();
        for (place, column) in self.codec.key.iter().enumerate() {
            if wanted.peek().is_none() {
                return Ok(());
            }
            let datum = decode_key(&mut rest, &column.ty, column.direction, column.nulls)
                .map_err(|_| self.damaged(key))?;
            while let Some((slot, _)) = wanted.next_if(|(_, source)| *source == Source::Key(place)) {
                put(*slot, datum.clone());
            }
        }
        if wanted.peek().is_none() {
            return Ok(());
        }
        let primary = self.primary_key(key, rest, value)?;
        for (slot, source) in wanted {
            let Source::PrimaryKey(place) = source else { unreachable!("the key's own columns come first") };
            put(*slot, primary[*place].clone());
        }
        Ok(())
    }

    fn primary_key(&self, key: &[u8], mut rest: &[u8], value: &[u8]) -> Result<Vec<Datum>, EntryError> {
        let columns = &self.codec.primary_key;
        if rest.is_empty() {
            let mut primary = vec![Datum::Null; columns.len()];
            self.primary_in_value.decode_datums(value, &mut primary).map_err(|_| self.damaged(key))?;
            return Ok(primary);
        }
        columns
            .iter()
            .map(|column| {
                decode_key(&mut rest, &column.ty, column.direction, column.nulls).map_err(|_| self.damaged(key))
            })
            .collect()
    }

    /// The key of the row that an entry of a secondary index belongs to.
    ///
    /// # Errors
    /// When the entry is damaged.
    pub fn row_key(&self, primary: &IndexCodec, key: &[u8], value: &[u8]) -> Result<Key, EntryError> {
        let mut rest = key.strip_prefix(&self.codec.prefix[..]).ok_or_else(|| self.damaged(key))?;
        for column in &self.codec.key {
            types::skip_key(&mut rest, &column.ty, column.direction, column.nulls).map_err(|_| self.damaged(key))?;
        }
        let mut out = primary.prefix.clone();
        if rest.is_empty() {
            let datums = self.primary_key(key, rest, value)?;
            for (column, datum) in self.codec.primary_key.iter().zip(&datums) {
                encode_key(&mut out, &column.ty, datum, column.direction, column.nulls);
            }
        } else {
            // The primary key follows as it is encoded there.
            out.extend_from_slice(rest);
        }
        Ok(out.into())
    }
}

/// How entries of an index become rows.
#[derive(Clone, Debug)]
pub struct Access {
    pub codec: IndexCodec,
    pub reader: EntryReader,
    /// Where the index does not hold all columns: the primary index, and what to take from it.
    pub fetch: Option<(IndexCodec, EntryReader)>,
}

impl Access {
    /// `index` and `columns` are positions in the table. With `fetch_rows` the index leads to rows, and need not hold the
    /// columns itself.
    #[must_use]
    pub fn new(table: &Table, index: usize, columns: &[usize], fetch_rows: bool) -> Self {
        let index = &table.indexes[index];
        let codec = IndexCodec::new(table, index);
        if !fetch_rows {
            return Self { codec, reader: EntryReader::new(table, index, columns), fetch: None };
        }
        let primary = IndexCodec::new(table, table.primary());
        let rows = EntryReader::new(table, table.primary(), columns);
        Self { codec, reader: EntryReader::new(table, index, &[]), fetch: Some((primary, rows)) }
    }

    #[must_use]
    pub fn new_columns(&self) -> Vec<ColumnVec> {
        match &self.fetch {
            Some((_, rows)) => rows.new_columns(),
            None => self.reader.new_columns(),
        }
    }
}

#[cfg(test)]
mod tests {
    use keys::IndexId;

    use super::*;
    use crate::descriptor::{Column, IndexColumn};

    fn column(id: u32, name: &str, ty: SqlType) -> Column {
        let id = ColumnId::new(id);
        let name = name.to_owned();
        Column { id, name, ty, domain: None, nullable: true, default: None, missing: Datum::Null, hidden: false }
    }

    fn index(id: u32, unique: bool, columns: &[u32], included: &[u32]) -> Index {
        let key = |id: &u32| IndexColumn {
            column: ColumnId::new(*id),
            direction: Direction::Asc,
            nulls: NullsOrder::Last,
        };
        Index {
            id: IndexId::new(id),
            oid: id,
            name: format!("i{id}"),
            unique,
            nulls_not_distinct: false,
            columns: columns.iter().map(key).collect(),
            included: included.iter().copied().map(ColumnId::new).collect(),
            predicate: None,
            constraint: None,
            details: crate::IndexDetails::default(),
        }
    }

    /// `t(p numeric, q integer, a integer)` with the key (p, q) and this index.
    fn table(other: Index) -> Table {
        Table {
            id: 100,
            name: "t".to_owned(),
            schema: 2_200,
            owner: 10,
            next_column: ColumnId::new(4),
            next_index: IndexId::new(3),
            columns: vec![
                column(1, "p", SqlType::parse_name("numeric").unwrap()),
                column(2, "q", SqlType::Int4),
                column(3, "a", SqlType::Int4),
            ],
            indexes: vec![index(1, true, &[1, 2], &[]), other],
            checks: Vec::new(),
            foreign_keys: Vec::new(),
            referenced_by: Vec::new(),
            triggers: Vec::new(),
            storage: 100,
            comment: None,
            on_commit: crate::descriptor::OnCommit::default(),
            comments: Vec::new(),
            materialized: None,
            partitioning: None,
            security: None,
            zones: None,
            codecs: Default::default(),
        }
    }

    #[test]
    fn composite_value_kept_in_every_covering_entry() {
        let numeric = |text: &str| Datum::Numeric(types::Numeric::parse(text).unwrap());
        for (unique, a) in [(false, Datum::Int(5)), (true, Datum::Int(5)), (true, Datum::Null)] {
            for included in [&[1][..], &[1, 2], &[]] {
                let table = table(index(2, unique, &[3], included));
                let row = [numeric("1.00"), Datum::Int(7), a.clone()];
                let index = &table.indexes[1];
                let (key, value) = IndexCodec::new(&table, index).encode(&row);
                let covered: Vec<usize> = (0..3).filter(|at| EntryReader::covers(&table, index, *at)).collect();
                assert_eq!(covered.contains(&0), included.contains(&1), "{included:?}");
                let reader = EntryReader::new(&table, index, &covered);
                let mut read = vec![Datum::Null; covered.len()];
                reader.read_datums(key.as_bytes(), &value, &mut read).unwrap();
                let shown = |datum: &Datum| format!("{datum:?}");
                let expected: Vec<String> = covered.iter().map(|at| shown(&row[*at])).collect();
                assert_eq!(read.iter().map(shown).collect::<Vec<_>>(), expected, "{unique} {included:?}");
                let primary = IndexCodec::new(&table, table.primary());
                assert_eq!(reader.row_key(&primary, key.as_bytes(), &value).unwrap(), primary.encode_key(&row));
            }
        }
    }
}
