//! Distinct keys in order of arrival, each with a number: what GROUP BY, DISTINCT, set operations and hash joins are
//! made of.
//!
//! Keys are hashed and compared in their columns, without making datums of the common types. NULL equals NULL here;
//! joins leave NULLs out before they ask.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;
use types::{Batch, ColumnVec, Datum, Numeric, SqlResult, SqlType, compare_records, hash_datum, sql_equal};

use crate::vectorized::without_blanks;

pub(crate) struct KeyTable {
    types: Vec<SqlType>,
    keys: Vec<ColumnVec>,
    hashes: Vec<u64>,
    table: HashTable<u32>,
    state: RandomState,
}

const NULL_HASH: u64 = 0x5bd1_e995_9d1b_54a5;

fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash.rotate_left(23) ^ word) * 0x9e37_79b9_7f4a_7c15_u128;
    (product as u64) ^ ((product >> 64) as u64)
}

/// Of equal numerics, whatever their scales, the same.
fn decimal_word(mut digits: i64, mut scale: u16) -> u64 {
    while scale > 0 && digits % 10 == 0 {
        if digits == 0 {
            return 0;
        }
        digits /= 10;
        scale -= 1;
    }
    (digits as u64).wrapping_add(u64::from(scale) << 56)
}

impl KeyTable {
    pub(crate) fn new(types: Vec<SqlType>) -> Self {
        let keys = types.iter().map(ColumnVec::new).collect();
        Self { types, keys, hashes: Vec::new(), table: HashTable::new(), state: RandomState::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    pub(crate) fn keys(&self) -> &[ColumnVec] {
        &self.keys
    }

    /// Whether these keys may be told apart: records need not be of one type, and are not equal or different then.
    ///
    /// # Errors
    /// 42804.
    pub(crate) fn check_alike(&self, columns: &[Arc<ColumnVec>], len: usize) -> SqlResult<()> {
        for ((column, ty), known) in columns.iter().zip(&self.types).zip(&self.keys) {
            if !ty.is_row() {
                continue;
            }
            let first = |column: &ColumnVec| (0..column.len()).find(|row| !column.is_null(*row)).map(|row| column.get_datum(row));
            let Some(first) = first(known).or_else(|| first(column)) else { continue };
            for row in (0..len).filter(|row| !column.is_null(*row)) {
                compare_records(ty, &first, &column.get_datum(row))?;
            }
        }
        Ok(())
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.keys.iter().map(ColumnVec::memory_bytes).sum::<usize>() + self.hashes.capacity() * 14
    }

    fn hash_rows(&self, columns: &[Arc<ColumnVec>], len: usize) -> Vec<u64> {
        let seed = self.state.hash_one(0_u64);
        let mut hashes = vec![seed; len];
        for (column, ty) in columns.iter().zip(&self.types) {
            match column.as_ref() {
                ColumnVec::Int(_, ints) => {
                    for (row, (hash, value)) in hashes.iter_mut().zip(&ints.values).enumerate() {
                        let word = if ints.nulls.is_null(row) { NULL_HASH } else { *value as u64 };
                        *hash = mix(*hash, word);
                    }
                }
                ColumnVec::Text(strings) => {
                    let counts: fn(&[u8]) -> &[u8] = if matches!(ty, SqlType::Char(_)) { without_blanks } else { |text| text };
                    for (row, hash) in hashes.iter_mut().enumerate() {
                        let bytes = strings.get(row).map(counts);
                        *hash = mix(*hash, bytes.map_or(NULL_HASH, |bytes| self.state.hash_one(bytes)));
                    }
                }
                ColumnVec::Decimal(decimals) => {
                    for (row, hash) in hashes.iter_mut().enumerate() {
                        let word = decimals.digits.get(row).map_or(NULL_HASH, |digits| decimal_word(digits, decimals.scale()));
                        *hash = mix(*hash, word);
                    }
                }
                ColumnVec::Datum(datums) if matches!(ty, SqlType::Numeric(_)) => {
                    for (datum, hash) in datums.iter().zip(&mut hashes) {
                        *hash = mix(*hash, self.numeric_word(datum.as_numeric()));
                    }
                }
                ColumnVec::Datum(datums) => {
                    for (datum, hash) in datums.iter().zip(&mut hashes) {
                        *hash = mix(*hash, self.datum_word(ty, datum));
                    }
                }
                column => {
                    for (row, hash) in hashes.iter_mut().enumerate() {
                        *hash = mix(*hash, self.datum_word(ty, &column.get_datum(row)));
                    }
                }
            }
        }
        hashes
    }

    fn datum_word(&self, ty: &SqlType, datum: &Datum) -> u64 {
        let mut hasher = self.state.build_hasher();
        hash_datum(ty, datum, &mut hasher);
        hasher.finish()
    }

    /// The same for a numeric that is a word in another column.
    fn numeric_word(&self, value: Option<&Numeric>) -> u64 {
        let Some(value) = value else { return NULL_HASH };
        match value.trim_scale().as_small() {
            Some((digits, scale)) => decimal_word(digits, scale),
            None => self.state.hash_one(value),
        }
    }

    fn is_same(&self, key: u32, columns: &[Arc<ColumnVec>], row: usize) -> bool {
        let key = key as usize;
        self.keys.iter().zip(columns).zip(&self.types).all(|((kept, column), ty)| match (kept, column.as_ref()) {
            (ColumnVec::Int(_, kept), ColumnVec::Int(_, column)) => kept.get(key) == column.get(row),
            (ColumnVec::Bool(kept), ColumnVec::Bool(column)) => kept.get(key) == column.get(row),
            (ColumnVec::Text(kept), ColumnVec::Text(column)) if matches!(ty, SqlType::Char(_)) => {
                kept.get(key).map(without_blanks) == column.get(row).map(without_blanks)
            }
            (ColumnVec::Text(kept), ColumnVec::Text(column)) => kept.get(key) == column.get(row),
            (ColumnVec::Decimal(kept), ColumnVec::Decimal(column)) if kept.scale() == column.scale() => {
                kept.digits.get(key) == column.digits.get(row)
            }
            (ColumnVec::Datum(kept), ColumnVec::Datum(column)) => sql_equal(ty, &kept[key], &column[row]),
            (kept, column) => sql_equal(ty, &kept.get_datum(key), &column.get_datum(row)),
        })
    }

    /// The number of each row's key, given now where it is new; `on_new` is told the rows that brought one.
    pub(crate) fn insert(
        &mut self,
        columns: &[Arc<ColumnVec>],
        len: usize,
        keep: impl Fn(usize) -> bool,
        mut on_new: impl FnMut(u32),
    ) -> Vec<u32> {
        if self.types.is_empty() && !self.hashes.is_empty() {
            // All rows have the one empty key.
            return (0..len).map(|row| if keep(row) { 0 } else { u32::MAX }).collect();
        }
        let hashes = self.hash_rows(columns, len);
        let mut numbers = Vec::with_capacity(len);
        for (row, hash) in hashes.into_iter().enumerate() {
            if !keep(row) {
                numbers.push(u32::MAX);
                continue;
            }
            let found = self.find_hashed(columns, row, hash);
            numbers.push(match found {
                Some(number) => number,
                None => {
                    let number = u32::try_from(self.hashes.len()).expect("memory ends long before 2^32 keys");
                    for (kept, column) in self.keys.iter_mut().zip(columns) {
                        kept.append_range(column, row, 1);
                    }
                    self.hashes.push(hash);
                    let hashes = &self.hashes;
                    self.table.insert_unique(hash, number, |number| hashes[*number as usize]);
                    on_new(row as u32);
                    number
                }
            });
        }
        numbers
    }

    fn find_hashed(&self, columns: &[Arc<ColumnVec>], row: usize, hash: u64) -> Option<u32> {
        let same = |number: &u32| self.hashes[*number as usize] == hash && self.is_same(*number, columns, row);
        if let ([ColumnVec::Int(_, kept)], [column]) = (self.keys.as_slice(), columns)
            && let ColumnVec::Int(_, column) = column.as_ref()
            && !column.nulls.any()
        {
            let wanted = column.values[row];
            return self
                .table
                .find(hash, |number| {
                    kept.values[*number as usize] == wanted && !kept.nulls.is_null(*number as usize)
                })
                .copied();
        }
        self.table.find(hash, same).copied()
    }

    /// The numbers of the rows' keys, `u32::MAX` where there is none.
    pub(crate) fn find(&self, columns: &[Arc<ColumnVec>], len: usize, keep: impl Fn(usize) -> bool) -> Vec<u32> {
        let hashes = self.hash_rows(columns, len);
        let find = |(row, hash)| {
            if keep(row) { self.find_hashed(columns, row, hash).unwrap_or(u32::MAX) } else { u32::MAX }
        };
        hashes.into_iter().enumerate().map(find).collect()
    }
}

/// The rows of a batch whose keys are new to the table.
pub(crate) fn new_rows(table: &mut KeyTable, columns: &[Arc<ColumnVec>], batch: &Batch) -> Vec<u32> {
    let mut rows = Vec::new();
    table.insert(columns, batch.len(), |_| true, |row| rows.push(row));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_share_a_number_and_nulls_are_equal() {
        let types = vec![SqlType::Int8, SqlType::Char(Some(3))];
        let mut table = KeyTable::new(types.clone());
        let rows: Vec<Vec<Datum>> = vec![
            vec![1.into(), "a  ".into()],
            vec![1.into(), "a".into()],
            vec![Datum::Null, "a".into()],
            vec![Datum::Null, "a ".into()],
            vec![0.into(), Datum::Null],
        ];
        let batch = Batch::from_rows(&types, &rows);
        let numbers = table.insert(batch.columns(), 5, |_| true, |_| {});
        assert_eq!(numbers, [0, 0, 1, 1, 2]);
        assert_eq!(table.find(batch.columns(), 5, |row| row != 1), [0, u32::MAX, 1, 1, 2]);
        assert_eq!(table.len(), 3);
    }

    /// Columns of words and of datums hold the same keys.
    #[test]
    fn equal_numerics_share_a_number_whatever_their_form() {
        let numeric = |text: &str| Datum::Numeric(Numeric::parse(text).unwrap());
        let batches = [
            vec![numeric("1.50"), numeric("0.00"), Datum::Null, numeric("100.00")],
            vec![numeric("1.5"), numeric("0.0"), Datum::Null],
            vec![numeric("100"), numeric("NaN"), numeric("1.500"), numeric("0"), numeric("1e2")],
            vec![numeric("NaN"), numeric("1e40"), numeric("10000000000000000000000000000000000000000.0")],
        ];
        let mut table = KeyTable::new(vec![SqlType::NUMERIC]);
        let number = |table: &mut KeyTable, datums: &[Datum]| {
            let column = Arc::new(ColumnVec::from_datums(&SqlType::NUMERIC, datums));
            table.insert(&[column], datums.len(), |_| true, |_| {})
        };
        let numbers: Vec<Vec<u32>> = batches.iter().map(|batch| number(&mut table, batch)).collect();
        assert_eq!(numbers, [vec![0, 1, 2, 3], vec![0, 1, 2], vec![3, 4, 0, 1, 3], vec![4, 5, 5]]);
    }

    #[test]
    fn rows_without_keys_are_one_group() {
        let mut table = KeyTable::new(Vec::new());
        assert_eq!(table.insert(&[], 2, |_| true, |_| {}), [0, 0]);
        assert_eq!(table.insert(&[], 3, |row| row != 1, |_| {}), [0, u32::MAX, 0]);
        assert_eq!(table.len(), 1);
    }
}
