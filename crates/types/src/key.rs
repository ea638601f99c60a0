//! Keys.
use crate::{Datum, SqlType};
use keys::encoding::DecodeError;
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
pub enum Direction { #[default] Asc, Desc }
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
pub enum NullsOrder { First, #[default] Last }
impl SqlType { pub fn key_is_composite(&self) -> bool { false } }
pub fn encode_key(_out: &mut Vec<u8>, _ty: &SqlType, _d: &Datum, _dir: Direction, _n: NullsOrder) {}
pub fn decode_key(_i: &mut &[u8], _ty: &SqlType, _dir: Direction, _n: NullsOrder) -> Result<Datum, DecodeError> { Err(DecodeError::Truncated) }
pub fn skip_key(_i: &mut &[u8], _ty: &SqlType, _dir: Direction, _n: NullsOrder) -> Result<(), DecodeError> { Err(DecodeError::Truncated) }
