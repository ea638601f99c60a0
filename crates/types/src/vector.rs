//! Columns of machine words for the batch executor.
//!
//! A batch is a list of columns of equal length. A column holds its values in the plainest array that fits its
//! type, and beside it a bitmap of NULLs that costs nothing while there are none.

use crate::datum::Datum;
use crate::decimals::Decimals;
use crate::numeric::Numeric;
use crate::sql_type::SqlType;

/// The bitmap of NULL rows, bit set = NULL. Without any NULL no bits are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nulls {
    bits: Vec<u64>,
    count: usize,
}

impl Nulls {
    #[must_use]
    pub const fn none() -> Self {
        Self { bits: Vec::new(), count: 0 }
    }

    #[must_use]
    pub fn is_null(&self, row: usize) -> bool {
        self.bits.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    #[must_use]
    pub const fn any(&self) -> bool {
        self.count != 0
    }

    /// How many rows are NULL.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    pub fn set_null(&mut self, row: usize) {
        let word = row / 64;
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        let bit = 1 << (row % 64);
        self.count += usize::from(self.bits[word] & bit == 0);
        self.bits[word] |= bit;
    }

    /// Forgets rows from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.bits.truncate(len.div_ceil(64));
        if !len.is_multiple_of(64)
            && let Some(last) = self.bits.get_mut(len / 64)
        {
            *last &= (1 << (len % 64)) - 1;
        }
        self.count = self.bits.iter().map(|word| word.count_ones() as usize).sum();
    }

    pub fn clear(&mut self) {
        self.bits.clear();
        self.count = 0;
    }

    /// NULL where either is: the strict functions' rule.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if !self.any() {
            return other.clone();
        }
        let mut union = self.clone();
        union.union_with(other);
        union
    }

    pub fn union_with(&mut self, other: &Self) {
        if !other.any() {
            return;
        }
        if self.bits.len() < other.bits.len() {
            self.bits.resize(other.bits.len(), 0);
        }
        for (word, more) in self.bits.iter_mut().zip(&other.bits) {
            *word |= more;
        }
        self.count = self.bits.iter().map(|word| word.count_ones() as usize).sum();
    }
}

/// Values of one machine type; a NULL row holds the type's default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Primitive<T> {
    pub values: Vec<T>,
    pub nulls: Nulls,
}

impl<T: Copy + Default> Primitive<T> {
    #[must_use]
    pub const fn new() -> Self {
        Self { values: Vec::new(), nulls: Nulls::none() }
    }

    #[must_use]
    pub fn with_capacity(rows: usize) -> Self {
        Self { values: Vec::with_capacity(rows), nulls: Nulls::none() }
    }

    #[must_use]
    pub const fn from_values(values: Vec<T>) -> Self {
        Self { values, nulls: Nulls::none() }
    }

    #[must_use]
    pub fn get(&self, row: usize) -> Option<T> {
        (!self.nulls.is_null(row)).then(|| self.values[row])
    }

    pub fn push(&mut self, value: T) {
        self.values.push(value);
    }

    pub fn push_null(&mut self) {
        self.nulls.set_null(self.values.len());
        self.values.push(T::default());
    }

    pub(crate) fn append(&mut self, other: &Self, from: usize, len: usize) {
        if other.nulls.any() {
            let base = self.values.len();
            for offset in 0..len {
                if other.nulls.is_null(from + offset) {
                    self.nulls.set_null(base + offset);
                }
            }
        }
        self.values.extend_from_slice(&other.values[from..from + len]);
    }

    pub(crate) fn gather(&self, rows: &[u32]) -> Self {
        let values = rows.iter().map(|row| self.values[*row as usize]).collect();
        Self { values, nulls: gather_nulls(&self.nulls, rows) }
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.nulls.truncate(len);
    }
}

fn gather_nulls(nulls: &Nulls, rows: &[u32]) -> Nulls {
    let mut gathered = Nulls::none();
    if nulls.any() {
        for (to, from) in rows.iter().enumerate() {
            if nulls.is_null(*from as usize) {
                gathered.set_null(to);
            }
        }
    }
    gathered
}

/// Byte strings end to end in one buffer; row `i` is `buffer[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Strings {
    offsets: Vec<u32>,
    buffer: Vec<u8>,
    pub nulls: Nulls,
}

impl Default for Strings {
    fn default() -> Self {
        Self::new()
    }
}

impl Strings {
    #[must_use]
    pub fn new() -> Self {
        Self { offsets: vec![0], buffer: Vec::new(), nulls: Nulls::none() }
    }

    #[must_use]
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { offsets, buffer: Vec::with_capacity(bytes), nulls: Nulls::none() }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All rows' bytes, and where each row begins, with the end of the last.
    #[must_use]
    pub fn parts(&self) -> (&[u8], &[u32]) {
        (&self.buffer, &self.offsets)
    }

    /// The bytes of a row; empty when it is NULL.
    #[must_use]
    pub fn bytes(&self, row: usize) -> &[u8] {
        &self.buffer[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    #[must_use]
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        (!self.nulls.is_null(row)).then(|| self.bytes(row))
    }

    pub fn push(&mut self, value: &[u8]) {
        self.buffer.extend_from_slice(value);
        self.seal_row();
    }

    /// Appends a row that `fill` writes at the buffer's end.
    pub fn push_with<E>(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let before = self.buffer.len();
        match fill(&mut self.buffer) {
            Ok(()) => {
                self.seal_row();
                Ok(())
            }
            Err(error) => {
                self.buffer.truncate(before);
                Err(error)
            }
        }
    }

    fn seal_row(&mut self) {
        let end = u32::try_from(self.buffer.len()).expect("a batch's strings stay below 4 GiB: batches are bounded");
        self.offsets.push(end);
    }

    pub fn push_null(&mut self) {
        self.nulls.set_null(self.len());
        self.seal_row();
    }

    fn append(&mut self, other: &Self, from: usize, len: usize) {
        if other.nulls.any() {
            let base = self.len();
            for row in (0..len).filter(|row| other.nulls.is_null(from + row)) {
                self.nulls.set_null(base + row);
            }
        }
        let (start, end) = (other.offsets[from] as usize, other.offsets[from + len] as usize);
        let before = self.buffer.len();
        self.buffer.extend_from_slice(&other.buffer[start..end]);
        // The last offset is the greatest: where it fits, all fit.
        u32::try_from(self.buffer.len()).expect("a batch's strings stay below 4 GiB: batches are bounded");
        self.offsets.extend(other.offsets[from + 1..=from + len].iter().map(|at| (before + *at as usize - start) as u32));
    }

    fn gather(&self, rows: &[u32]) -> Self {
        let bytes = rows.iter().map(|row| self.bytes(*row as usize).len()).sum();
        let mut gathered = Self::with_capacity(rows.len(), bytes);
        for row in rows {
            gathered.push(self.bytes(*row as usize));
        }
        gathered.nulls = gather_nulls(&self.nulls, rows);
        gathered
    }

    fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len + 1);
        self.buffer.truncate(self.offsets[self.offsets.len() - 1] as usize);
        self.nulls.truncate(len);
    }
}

/// Which datum an integer column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntKind {
    /// int2, int4, int8, oid, xid, reg*, money, pg_lsn, xid8.
    Int,
    Date,
    Time,
    Timestamp,
    TimestampTz,
}

impl IntKind {
    #[must_use]
    pub const fn datum(self, value: i64) -> Datum {
        match self {
            Self::Int => Datum::Int(value),
            Self::Date => Datum::Date(value as i32),
            Self::Time => Datum::Time(value),
            Self::Timestamp => Datum::Timestamp(value),
            Self::TimestampTz => Datum::TimestampTz(value),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum ColumnVec {
    Bool(Primitive<bool>),
    Int(IntKind, Primitive<i64>),
    Float(Primitive<f64>),
    /// numeric, while the values have one scale and are short.
    Decimal(Decimals),
    /// UTF-8: text, varchar, char, name, `"char"`, unknown.
    Text(Strings),
    Bytes(Strings),
    /// Everything else.
    Datum(Vec<Datum>),
}

impl ColumnVec {
    /// The representation for columns of this type.
    #[must_use]
    pub fn new(ty: &SqlType) -> Self {
        Self::with_capacity(ty, 0)
    }

    #[must_use]
    pub fn with_capacity(ty: &SqlType, rows: usize) -> Self {
        match ty {
            SqlType::Bool => Self::Bool(Primitive::with_capacity(rows)),
            SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Oid | SqlType::Xid | SqlType::Money | SqlType::PgLsn
            | SqlType::Xid8 => {
                Self::Int(IntKind::Int, Primitive::with_capacity(rows))
            }
            reg if reg.is_reg() => Self::Int(IntKind::Int, Primitive::with_capacity(rows)),
            SqlType::Date => Self::Int(IntKind::Date, Primitive::with_capacity(rows)),
            SqlType::Time(_) => Self::Int(IntKind::Time, Primitive::with_capacity(rows)),
            SqlType::Timestamp(_) => Self::Int(IntKind::Timestamp, Primitive::with_capacity(rows)),
            SqlType::TimestampTz(_) => Self::Int(IntKind::TimestampTz, Primitive::with_capacity(rows)),
            SqlType::Float4 | SqlType::Float8 => Self::Float(Primitive::with_capacity(rows)),
            SqlType::Numeric(_) => Self::Decimal(Decimals::with_capacity(rows)),
            SqlType::Text
            | SqlType::Varchar(_)
            | SqlType::Char(_)
            | SqlType::QuotedChar
            | SqlType::Name
            | SqlType::PgNodeTree
            | SqlType::Unknown => Self::Text(Strings::with_capacity(rows, 0)),
            SqlType::Bytea => Self::Bytes(Strings::with_capacity(rows, 0)),
            _ => Self::Datum(Vec::with_capacity(rows)),
        }
    }

    /// `len` rows of one value.
    #[must_use]
    pub fn repeat(ty: &SqlType, value: &Datum, len: usize) -> Self {
        let mut column = Self::with_capacity(ty, len);
        match (&mut column, value) {
            (Self::Int(_, column), Datum::Int(value)) => column.values.resize(len, *value),
            (Self::Float(column), Datum::Float(value)) => column.values.resize(len, *value),
            (Self::Bool(column), Datum::Bool(value)) => column.values.resize(len, *value),
            (column, value) => {
                for _ in 0..len {
                    column.push(value);
                }
            }
        }
        column
    }

    #[must_use]
    pub fn from_datums(ty: &SqlType, datums: &[Datum]) -> Self {
        let mut column = Self::with_capacity(ty, datums.len());
        for datum in datums {
            column.push(datum);
        }
        column
    }

    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bool(column) => column.values.len(),
            Self::Int(_, column) => column.values.len(),
            Self::Float(column) => column.values.len(),
            Self::Decimal(column) => column.len(),
            Self::Text(column) | Self::Bytes(column) => column.len(),
            Self::Datum(column) => column.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(column) => column.nulls.is_null(row),
            Self::Int(_, column) => column.nulls.is_null(row),
            Self::Float(column) => column.nulls.is_null(row),
            Self::Decimal(column) => column.nulls().is_null(row),
            Self::Text(column) | Self::Bytes(column) => column.nulls.is_null(row),
            Self::Datum(column) => column[row].is_null(),
        }
    }

    #[must_use]
    pub fn get_datum(&self, row: usize) -> Datum {
        match self {
            Self::Bool(column) => column.get(row).map_or(Datum::Null, Datum::Bool),
            Self::Int(kind, column) => column.get(row).map_or(Datum::Null, |value| kind.datum(value)),
            Self::Float(column) => column.get(row).map_or(Datum::Null, Datum::Float),
            Self::Decimal(column) => column.get(row).map_or(Datum::Null, Datum::Numeric),
            Self::Text(column) => column.get(row).map_or(Datum::Null, |bytes| Datum::text(as_str(bytes))),
            Self::Bytes(column) => column.get(row).map_or(Datum::Null, Datum::bytes),
            Self::Datum(column) => column[row].clone(),
        }
    }

    /// The characters of a text row.
    #[must_use]
    pub fn get_str(&self, row: usize) -> Option<&str> {
        match self {
            Self::Text(column) => column.get(row).map(as_str),
            Self::Datum(column) => column[row].as_str(),
            _ => None,
        }
    }

    /// # Panics
    /// When the datum is not one of the column's type: *datum-matches-type* is broken.
    pub fn push(&mut self, datum: &Datum) {
        if let (Self::Decimal(column), Datum::Numeric(value)) = (&mut *self, datum) {
            match value.as_small() {
                Some((digits, scale)) if column.try_push(digits, scale) => return,
                _ => self.keep_datums(),
            }
        }
        match (self, datum) {
            (Self::Datum(column), datum) => column.push(datum.clone()),
            (column, Datum::Null) => column.push_null(),
            (Self::Bool(column), Datum::Bool(value)) => column.push(*value),
            (Self::Int(IntKind::Int, column), Datum::Int(value)) => column.push(*value),
            (Self::Int(IntKind::Date, column), Datum::Date(value)) => column.push(i64::from(*value)),
            (Self::Int(IntKind::Time, column), Datum::Time(value)) => column.push(*value),
            (Self::Int(IntKind::Timestamp, column), Datum::Timestamp(value)) => column.push(*value),
            (Self::Int(IntKind::TimestampTz, column), Datum::TimestampTz(value)) => column.push(*value),
            (Self::Float(column), Datum::Float(value)) => column.push(*value),
            (Self::Text(column), Datum::Text(value)) => column.push(value.as_bytes()),
            (Self::Bytes(column), Datum::Bytes(value)) => column.push(value),
            (column, datum) => {
                panic!("datum-matches-type: {datum:?} pushed to a column of {}", column.representation())
            }
        }
    }

    /// Appends a numeric of few digits.
    ///
    /// # Panics
    /// Where the column is not of that type.
    #[inline]
    pub fn push_decimal(&mut self, digits: i64, scale: u16) {
        if let Self::Decimal(column) = &mut *self
            && column.try_push(digits, scale)
        {
            return;
        }
        self.push(&Datum::Numeric(Numeric::small(digits, scale)));
    }

    /// Turns a column of words into one of datums.
    #[cold]
    fn keep_datums(&mut self) {
        let datums = (0..self.len()).map(|row| self.get_datum(row)).collect();
        *self = Self::Datum(datums);
    }

    pub fn push_null(&mut self) {
        match self {
            Self::Bool(column) => column.push_null(),
            Self::Int(_, column) => column.push_null(),
            Self::Float(column) => column.push_null(),
            Self::Decimal(column) => column.digits.push_null(),
            Self::Text(column) | Self::Bytes(column) => column.push_null(),
            Self::Datum(column) => column.push(Datum::Null),
        }
    }

    const fn representation(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Int(IntKind::Int, _) => "int",
            Self::Int(IntKind::Date, _) => "date",
            Self::Int(IntKind::Time, _) => "time",
            Self::Int(IntKind::Timestamp, _) => "timestamp",
            Self::Int(IntKind::TimestampTz, _) => "timestamptz",
            Self::Float(_) => "float",
            Self::Decimal(_) => "decimal",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::Datum(_) => "datum",
        }
    }

    /// Appends rows `[from, from + len)` of `other`, a column of the same type.
    pub fn append_range(&mut self, other: &Self, from: usize, len: usize) {
        if let (Self::Decimal(to), Self::Decimal(other)) = (&mut *self, other) {
            if to.try_append(other, from, len) {
                return;
            }
            self.keep_datums();
        }
        match (self, other) {
            (Self::Bool(to), Self::Bool(other)) => to.append(other, from, len),
            (Self::Int(kind, to), Self::Int(other_kind, other)) if kind == other_kind => to.append(other, from, len),
            (Self::Float(to), Self::Float(other)) => to.append(other, from, len),
            (Self::Text(to), Self::Text(other)) | (Self::Bytes(to), Self::Bytes(other)) => {
                to.append(other, from, len);
            }
            (Self::Datum(to), Self::Datum(other)) => to.extend_from_slice(&other[from..from + len]),
            (to, other) => (from..from + len).for_each(|row| to.push(&other.get_datum(row))),
        }
    }

    pub fn append(&mut self, other: &Self) {
        self.append_range(other, 0, other.len());
    }

    /// The rows at these indexes, in this order, repeats allowed. It serves filters (a selection of kept rows) and
    /// joins and sorts alike.
    #[must_use]
    pub fn gather(&self, rows: &[u32]) -> Self {
        match self {
            Self::Bool(column) => Self::Bool(column.gather(rows)),
            Self::Int(kind, column) => Self::Int(*kind, column.gather(rows)),
            Self::Float(column) => Self::Float(column.gather(rows)),
            Self::Decimal(column) => Self::Decimal(column.gather(rows)),
            Self::Text(column) => Self::Text(column.gather(rows)),
            Self::Bytes(column) => Self::Bytes(column.gather(rows)),
            Self::Datum(column) => Self::Datum(rows.iter().map(|row| column[*row as usize].clone()).collect()),
        }
    }

    #[must_use]
    pub fn slice(&self, from: usize, len: usize) -> Self {
        let mut slice = self.empty_like();
        slice.append_range(self, from, len);
        slice
    }

    /// An empty column of the same representation.
    #[must_use]
    pub fn empty_like(&self) -> Self {
        match self {
            Self::Bool(_) => Self::Bool(Primitive::new()),
            Self::Int(kind, _) => Self::Int(*kind, Primitive::new()),
            Self::Float(_) => Self::Float(Primitive::new()),
            Self::Decimal(column) => Self::Decimal(Decimals::new(column.scale())),
            Self::Text(_) => Self::Text(Strings::new()),
            Self::Bytes(_) => Self::Bytes(Strings::new()),
            Self::Datum(_) => Self::Datum(Vec::new()),
        }
    }

    pub fn truncate(&mut self, len: usize) {
        match self {
            Self::Bool(column) => column.truncate(len),
            Self::Int(_, column) => column.truncate(len),
            Self::Float(column) => column.truncate(len),
            Self::Decimal(column) => column.digits.truncate(len),
            Self::Text(column) | Self::Bytes(column) => {
                if len < column.len() {
                    column.truncate(len);
                }
            }
            Self::Datum(column) => column.truncate(len),
        }
    }

    /// Empties the column and keeps its memory.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// The rows where a boolean column is true: a filter's selection.
    #[must_use]
    pub fn true_rows(&self) -> Vec<u32> {
        match self {
            Self::Bool(column) => column
                .values
                .iter()
                .enumerate()
                // A NULL row holds false.
                .filter_map(|(row, value)| value.then_some(row as u32))
                .collect(),
            other => (0..other.len())
                .filter(|row| other.get_datum(*row).as_bool() == Some(true))
                .map(|row| row as u32)
                .collect(),
        }
    }

    /// Bytes of memory held, for accounting.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Bool(column) => column.values.capacity() + column.nulls.bits.capacity() * 8,
            Self::Int(_, column) => column.values.capacity() * 8 + column.nulls.bits.capacity() * 8,
            Self::Float(column) => column.values.capacity() * 8 + column.nulls.bits.capacity() * 8,
            Self::Decimal(column) => column.digits.values.capacity() * 8 + column.nulls().bits.capacity() * 8,
            Self::Text(column) | Self::Bytes(column) => column.buffer.capacity() + column.offsets.capacity() * 4,
            Self::Datum(column) => {
                column.capacity() * size_of::<Datum>() + column.iter().map(Datum::heap_bytes).sum::<usize>()
            }
        }
    }
}

fn as_str(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("datum-matches-type: a text column holds UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    fn sample(ty: &SqlType) -> Vec<Datum> {
        match ty {
            SqlType::Bool => vec![Datum::Bool(true), Datum::Null, Datum::Bool(false)],
            SqlType::Text => vec![Datum::from("a"), Datum::Null, Datum::from(""), Datum::from("ünï")],
            SqlType::Bytea => vec![Datum::bytes(&[0_u8, 255][..]), Datum::Null],
            SqlType::Float8 => vec![Datum::Float(1.5), Datum::Null],
            SqlType::Timestamp(_) => vec![Datum::Timestamp(5), Datum::Null],
            SqlType::Uuid => vec![Datum::Uuid([7; 16]), Datum::Null],
            _ => vec![Datum::Int(1), Datum::Null, Datum::Int(-3)],
        }
    }

    #[test]
    fn columns_give_back_what_was_pushed() {
        let types =
            [SqlType::Bool, SqlType::Text, SqlType::Bytea, SqlType::Float8, SqlType::TIMESTAMP, SqlType::Uuid, SqlType::Int4];
        for ty in types {
            let datums: Vec<Datum> = sample(&ty).into_iter().cycle().take(150).collect();
            let column = ColumnVec::from_datums(&ty, &datums);
            let back: Vec<Datum> = (0..column.len()).map(|row| column.get_datum(row)).collect();
            assert_eq!(back, datums, "{ty}");

            let rows = [149_u32, 0, 1, 1, 64, 63];
            let gathered = column.gather(&rows);
            for (to, from) in rows.iter().enumerate() {
                assert_eq!(gathered.get_datum(to), datums[*from as usize], "{ty}");
            }

            let mut doubled = column.clone();
            doubled.append(&column);
            assert_eq!(doubled.get_datum(150 + 70), datums[70]);
            doubled.truncate(150);
            assert_eq!(doubled, column);
            assert_eq!(column.slice(10, 5).get_datum(4), datums[14]);
        }
    }

    #[test]
    fn a_filter_keeps_true_rows_only() {
        let keep = ColumnVec::from_datums(&SqlType::Bool, &[true.into(), Datum::Null, false.into(), true.into()]);
        assert_eq!(keep.true_rows(), [0, 3]);
        let values = ColumnVec::from_datums(&SqlType::Int8, &[1.into(), 2.into(), 3.into(), 4.into()]);
        let batch = Batch::from_columns(vec![values], 4).filter(&keep.true_rows());
        assert_eq!(batch.len(), 2);
        assert_eq!(batch.row(1), [Datum::Int(4)]);
    }

    #[test]
    fn nulls_count_each_row_once() {
        let mut nulls = Nulls::none();
        nulls.set_null(3);
        nulls.set_null(3);
        nulls.set_null(70);
        assert_eq!(nulls.count(), 2);
        nulls.truncate(70);
        assert_eq!(nulls.count(), 1);
        assert!(nulls.is_null(3) && !nulls.is_null(70));
    }

    #[test]
    #[should_panic(expected = "datum-matches-type")]
    fn a_datum_of_another_type_is_refused() {
        ColumnVec::new(&SqlType::Int4).push(&Datum::from("x"));
    }
}
