//! Numbers along a template: `to_char` of numbers, and `to_number`.
//!
//! Writing lays the number's digits into the template's digit places first, and then walks the template. The sign
//! goes before the first place that shows something, unless the template says where.

use super::{Letters, Piece, cut, ordinal, spelled};
use crate::error::{SqlError, SqlResult, SqlState, raise};
use crate::{Datum, Numeric, NumericModifier, SqlType};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Comma,
    Point,
    Nine,
    Zero,
    /// B, C and others that PostgreSQL knows and passes over.
    Nothing,
    Group,
    Currency,
    Minus,
    Plus,
    Sign,
    PlusOrMinus,
    Brackets,
    Roman(Letters),
    Ordinal(Letters),
    /// V: digits behind it are of a number scaled up.
    Shift,
    Exponent,
    Fill,
}

const MARKS: [(&str, Mark); 20] = [
    (",", Mark::Comma),
    (".", Mark::Point),
    ("9", Mark::Nine),
    ("0", Mark::Zero),
    ("B", Mark::Nothing),
    ("C", Mark::Nothing),
    ("D", Mark::Point),
    ("EEEE", Mark::Exponent),
    ("FM", Mark::Fill),
    ("G", Mark::Group),
    ("L", Mark::Currency),
    ("MI", Mark::Minus),
    ("PL", Mark::Plus),
    ("PR", Mark::Brackets),
    ("RN", Mark::Roman(Letters::Upper)),
    ("SG", Mark::PlusOrMinus),
    ("SP", Mark::Nothing),
    ("S", Mark::Sign),
    ("TH", Mark::Ordinal(Letters::Upper)),
    ("V", Mark::Shift),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SignPlace {
    Before,
    After,
}

/// What a template says as a whole.
#[derive(Debug, Default)]
struct Template {
    pieces: Vec<Piece<Mark>>,
    /// Places before the point, behind the point, and behind V.
    before: usize,
    after: usize,
    shifted: usize,
    has_point: bool,
    has_shift: bool,
    /// The first place from which zeros are shown.
    zero_from: Option<usize>,
    /// How many places there are up to the last 0.
    zero_to: usize,
    fill: bool,
    sign: Option<SignPlace>,
    minus: bool,
    plus: bool,
    brackets: bool,
    roman: bool,
    exponent: bool,
}

fn syntax(message: &str) -> SqlError {
    SqlError::new(SqlState::SyntaxError, message)
}

impl Template {
    fn parse(text: &str) -> SqlResult<Self> {
        let pieces = cut(text, |rest| {
            let (length, mark, letters) =
                MARKS.iter().find_map(|(name, mark)| Some((name.len(), *mark, spelled(rest, name)?)))?;
            *rest = &rest[length..];
            Some(match mark {
                Mark::Roman(_) => Mark::Roman(letters),
                Mark::Ordinal(_) => Mark::Ordinal(letters),
                other => other,
            })
        });
        let mut template = Self::default();
        let mut sign_at = None;
        for piece in &pieces {
            if let Piece::Field(mark) = piece {
                template.add(*mark, &mut sign_at)?;
            }
        }
        // A sign right before the point of a number without places behind it follows all digits.
        if template.sign == Some(SignPlace::Before) && sign_at == Some(template.before) {
            template.sign = Some(SignPlace::After);
        }
        template.pieces = pieces;
        Ok(template)
    }

    fn add(&mut self, mark: Mark, sign_at: &mut Option<usize>) -> SqlResult<()> {
        if self.exponent && mark != Mark::Exponent {
            return Err(syntax("\"EEEE\" must be the last pattern used"));
        }
        match mark {
            Mark::Nine if self.brackets => return Err(syntax("\"9\" must be ahead of \"PR\"")),
            Mark::Nine if self.has_shift => self.shifted += 1,
            Mark::Nine if self.has_point => self.after += 1,
            Mark::Nine => self.before += 1,
            Mark::Zero => {
                if self.brackets {
                    return Err(syntax("\"0\" must be ahead of \"PR\""));
                }
                if self.has_point {
                    self.after += 1;
                } else {
                    self.zero_from.get_or_insert(self.before);
                    self.before += 1;
                }
                self.zero_to = self.before + self.after;
            }
            Mark::Point if self.has_point => return Err(syntax("multiple decimal points")),
            Mark::Point | Mark::Shift if self.has_point || self.has_shift => {
                return Err(syntax("cannot use \"V\" and decimal point together"));
            }
            Mark::Point => self.has_point = true,
            Mark::Shift => self.has_shift = true,
            Mark::Fill => self.fill = true,
            Mark::Sign => {
                if self.sign.is_some() {
                    return Err(syntax("cannot use \"S\" twice"));
                }
                if self.plus || self.minus || self.brackets {
                    return Err(syntax("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together"));
                }
                if self.has_point {
                    self.sign = Some(SignPlace::After);
                } else {
                    self.sign = Some(SignPlace::Before);
                    *sign_at = Some(self.before);
                }
            }
            Mark::Minus | Mark::Plus | Mark::PlusOrMinus => {
                if self.sign.is_some() {
                    return Err(syntax(match mark {
                        Mark::Minus => "cannot use \"S\" and \"MI\" together",
                        Mark::Plus => "cannot use \"S\" and \"PL\" together",
                        _ => "cannot use \"S\" and \"SG\" together",
                    }));
                }
                self.minus |= mark != Mark::Plus;
                self.plus |= mark != Mark::Minus;
            }
            Mark::Brackets => {
                if self.sign.is_some() || self.plus || self.minus {
                    return Err(syntax("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together"));
                }
                self.brackets = true;
            }
            Mark::Roman(_) => self.roman = true,
            Mark::Exponent => {
                if self.exponent {
                    return Err(syntax("cannot use \"EEEE\" twice"));
                }
                let other = self.fill
                    || self.sign.is_some()
                    || self.brackets
                    || self.minus
                    || self.plus
                    || self.roman
                    || self.has_shift;
                if other {
                    return Err(syntax("\"EEEE\" is incompatible with other formats").with_detail(
                        "\"EEEE\" may only be used together with digit and decimal point patterns.",
                    ));
                }
                self.exponent = true;
            }
            Mark::Comma | Mark::Group | Mark::Currency | Mark::Ordinal(_) | Mark::Nothing => {}
        }
        Ok(())
    }
}

/// A number as digits that were rounded to the template's places.
struct Digits {
    negative: bool,
    /// With a point only if there is anything behind it.
    text: String,
    /// Places before the point that the template has beyond the number's.
    spare: usize,
}

impl Digits {
    fn new(template: &Template, signed: &str) -> Self {
        let (negative, mut text) = match signed.strip_prefix('-') {
            Some(rest) => (true, rest.to_owned()),
            None => (false, signed.to_owned()),
        };
        let places = template.before + template.shifted;
        let whole = text.find('.').unwrap_or(text.len());
        if whole > places {
            text = format!("{}.{}", "#".repeat(places), "#".repeat(template.after));
        }
        Self { negative, text, spare: places.saturating_sub(whole) }
    }
}

/// `to_char` of a numeric.
///
/// # Errors
/// A template that contradicts itself.
pub fn numeric_to_char(value: &Numeric, pattern: &str) -> SqlResult<String> {
    let template = Template::parse(pattern)?;
    if template.roman {
        let rounded = value.round(0);
        if !rounded.is_finite() {
            let what = if rounded.is_nan() { "NaN" } else { "infinity" };
            return Err(SqlError::not_supported(format!("cannot convert {what} to integer")));
        }
        return template.write_integer_roman(rounded.to_i64("integer")?);
    }
    if template.exponent {
        return Ok(template.write_scientific(value));
    }
    let scaled = if template.has_shift {
        value.mul(&Numeric::from_i64(10).power(&Numeric::from_i64(template.shifted as i64))?.round(0))?
    } else {
        value.clone()
    };
    template.write(&scaled.round(template.after as i32).to_string())
}

pub(super) fn to_char(ty: &SqlType, value: &Datum, pattern: &str) -> SqlResult<String> {
    match value {
        Datum::Int(n) => {
            let template = Template::parse(pattern)?;
            if template.roman {
                return template.write_integer_roman(*n);
            }
            let scaled = u32::try_from(template.shifted).ok().and_then(|by| n.checked_mul(10_i64.checked_pow(by)?));
            if scaled.is_none() && !template.exponent {
                return Err(raise::out_of_range("bigint"));
            }
            // PostgreSQL makes a float of it, whose ties are rounded to even; wider integers become numerics.
            if template.exponent && matches!(ty, SqlType::Int2 | SqlType::Int4) {
                return Ok(float_scientific(*n as f64, template.after));
            }
            numeric_to_char(&Numeric::from_i64(*n), pattern)
        }
        Datum::Numeric(n) => numeric_to_char(n, pattern),
        Datum::Float(n) => float_to_char(*n, if *ty == SqlType::Float4 { 6 } else { 15 }, pattern),
        other => Err(SqlError::internal(format!("to_char of {other:?} as a number"))),
    }
}

/// Floats show no more digits than they are exact to.
fn float_to_char(value: f64, exact_digits: usize, pattern: &str) -> SqlResult<String> {
    let mut template = Template::parse(pattern)?;
    if template.roman {
        return Ok(template.write_roman(value.round_ties_even() as i64));
    }
    if template.exponent {
        if !value.is_finite() {
            return Ok(template.no_exponent());
        }
        return Ok(float_scientific(value, template.after));
    }
    let value = if template.has_shift { value * 10_f64.powi(template.shifted as i32) } else { value };
    // `Infinity` takes its places like digits.
    let whole = if value.is_nan() { 3 } else if value.is_infinite() { 8 } else { format!("{:.0}", value.abs()).len() };
    if whole >= exact_digits {
        template.after = 0;
    } else if whole + template.after > exact_digits {
        template.after = exact_digits - whole;
    }
    let text = if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else {
        format!("{value:.*}", template.after)
    };
    template.write(&text)
}

fn float_scientific(value: f64, after: usize) -> String {
    let text = format!("{value:.after$e}");
    let (mantissa, exponent) = text.split_once('e').expect("Rust writes an exponent");
    let exponent: i32 = exponent.parse().expect("Rust writes a decimal exponent");
    let space = if value.is_sign_negative() { "" } else { " " };
    format!("{space}{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

impl Template {
    fn no_exponent(&self) -> String {
        let mut text = vec!['#'; self.before + self.after + 6];
        text[0] = ' ';
        text[self.before + 1] = '.';
        text.into_iter().collect()
    }

    fn write_scientific(&self, value: &Numeric) -> String {
        if !value.is_finite() {
            return self.no_exponent();
        }
        // The exponent is that of the number before rounding: 99999 becomes 10.00e+04 there, and here.
        let mut exponent = 0_i64;
        if !value.is_zero() {
            let (digits, scale) = value.to_bigint_parts().expect("the value is finite");
            exponent = digits.magnitude().to_str_radix(10).len() as i64 - 1 - i64::from(scale);
        }
        let mantissa = scaled_to_units(value, exponent).round(self.after as i32);
        let space = if mantissa.signum() < 0 { "" } else { " " };
        format!("{space}{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
    }

    fn write_integer_roman(&self, value: i64) -> SqlResult<String> {
        i32::try_from(value).map_err(|_| raise::out_of_range("integer"))?;
        Ok(self.write_roman(value))
    }

    fn write_roman(&self, value: i64) -> String {
        const STEPS: [(i64, &str); 13] = [
            (1000, "M"),
            (900, "CM"),
            (500, "D"),
            (400, "CD"),
            (100, "C"),
            (90, "XC"),
            (50, "L"),
            (40, "XL"),
            (10, "X"),
            (9, "IX"),
            (5, "V"),
            (4, "IV"),
            (1, "I"),
        ];
        let roman = if (1..=3999).contains(&value) {
            let mut rest = value;
            let mut roman = String::new();
            for (step, letters) in STEPS {
                while rest >= step {
                    roman.push_str(letters);
                    rest -= step;
                }
            }
            roman
        } else {
            "#".repeat(15)
        };
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Filler(c, _) => out.push(*c),
                Piece::Field(Mark::Roman(letters)) => {
                    let width = if self.fill { 0 } else { 15_usize.saturating_sub(roman.len()) };
                    out.extend(std::iter::repeat_n(' ', width));
                    letters.put(&mut out, &roman);
                }
                Piece::Field(_) => {}
            }
        }
        out
    }

    /// The last byte of `digits` that fill mode keeps: trailing zeros behind the point go, unless a 0 wants them.
    fn last_kept(&self, digits: &Digits) -> Option<usize> {
        if !self.fill || !self.has_point {
            return None;
        }
        let point = digits.text.find('.')?;
        let last = digits.text.bytes().rposition(|b| b != b'0').map_or(point, |at| at.max(point));
        if self.zero_to > digits.spare {
            let wanted = (digits.text.len() - 1).min(self.zero_to - digits.spare);
            return Some(last.max(wanted));
        }
        Some(last)
    }

    /// Lays a rounded number into the template.
    fn write(&self, signed: &str) -> SqlResult<String> {
        let digits = Digits::new(self, signed);
        let bytes = digits.text.as_bytes();
        let kept = self.last_kept(&digits);
        let point_is_last = kept.is_some_and(|at| bytes[at] == b'.');
        // A lone zero before the point of `9.99` is not shown.
        let hides_zero = self.zero_from.is_none() && self.after > 0 && bytes.first() == Some(&b'0');
        let own_sign = self.plus || self.minus;
        let brackets = self.brackets && (digits.negative || !self.fill);
        let mut sign_done = if own_sign {
            self.minus
        } else {
            !digits.negative && self.fill && self.sign.is_none()
        };
        let waits_for_sign = !sign_done && digits.spare == 0;
        let count = (self.before + self.shifted + self.after) as i64 - 1 + i64::from(waits_for_sign);
        let end = count + i64::from(digits.spare > 0) + i64::from(self.has_point);
        let (mut at, mut place, mut in_number) = (0_usize, 0_usize, false);
        let mut out = String::with_capacity(self.pieces.len() + 8);
        for piece in &self.pieces {
            let mark = match piece {
                Piece::Filler(c, _) => {
                    out.push(*c);
                    continue;
                }
                Piece::Field(mark) => *mark,
            };
            match mark {
                Mark::Nine | Mark::Zero | Mark::Point => {
                    in_number = false;
                    let zero_here = self.zero_from.is_some_and(|from| from <= place);
                    let starts = place >= digits.spare || self.zero_from == Some(place);
                    if !sign_done && starts && (!(hides_zero && at == 0) || point_is_last) {
                        sign_done = self.put_leading_sign(&mut out, digits.negative, brackets);
                    }
                    if place < digits.spare {
                        if zero_here {
                            out.push('0');
                            in_number = true;
                        } else if !self.fill {
                            out.push(' ');
                        }
                    } else {
                        match bytes.get(at) {
                            Some(b'.') => out.push('.'),
                            Some(_) if kept.is_some_and(|kept| at > kept) && mark != Mark::Zero => {}
                            Some(_) if hides_zero && at == 0 => {
                                if !self.fill {
                                    out.push(' ');
                                } else if point_is_last {
                                    out.push('0');
                                }
                            }
                            Some(digit) => {
                                out.push(char::from(*digit));
                                in_number = true;
                            }
                            None => {}
                        }
                        at = (at + 1).min(bytes.len());
                    }
                    if place as i64 + 1 == end {
                        if sign_done && brackets {
                            out.push(if digits.negative { '>' } else { ' ' });
                        } else if self.sign == Some(SignPlace::After) {
                            out.push(if digits.negative { '-' } else { '+' });
                        }
                    }
                    place += 1;
                }
                Mark::Comma | Mark::Group => match (in_number, self.fill) {
                    (true, _) => out.push(','),
                    (false, false) => out.push(' '),
                    (false, true) => {}
                },
                Mark::Currency => out.push(' '),
                Mark::Ordinal(letters) => {
                    if !digits.negative && !self.has_point && bytes.first() != Some(&b'#') {
                        letters.put(&mut out, ordinal(&digits.text)?);
                    }
                }
                Mark::Minus | Mark::Plus => {
                    if digits.negative == (mark == Mark::Minus) {
                        out.push(if digits.negative { '-' } else { '+' });
                    } else if !self.fill {
                        out.push(' ');
                    }
                }
                Mark::PlusOrMinus => out.push(if digits.negative { '-' } else { '+' }),
                Mark::Sign
                | Mark::Brackets
                | Mark::Roman(_)
                | Mark::Shift
                | Mark::Exponent
                | Mark::Fill
                | Mark::Nothing => {}
            }
        }
        Ok(out)
    }

    /// The sign before the first place that shows something. Answers whether the sign is settled thereby.
    fn put_leading_sign(&self, out: &mut String, negative: bool, brackets: bool) -> bool {
        match self.sign {
            Some(SignPlace::Before) => out.push(if negative { '-' } else { '+' }),
            Some(SignPlace::After) => return false,
            None if brackets => out.push(if negative { '<' } else { ' ' }),
            None if negative => out.push('-'),
            None if self.fill => {}
            None => out.push(' '),
        }
        true
    }
}

/// `value / 10^exponent`, exactly where it is a decimal shift.
fn scaled_to_units(value: &Numeric, exponent: i64) -> Numeric {
    let (mantissa, scale) = value.to_bigint_parts().expect("the value is finite");
    let scale = i64::from(scale) + exponent;
    match u16::try_from(scale) {
        Ok(scale) => Numeric::from_bigint(mantissa, scale),
        Err(_) if scale < 0 => Numeric::from_bigint(mantissa * crate::numeric::pow10(scale.unsigned_abs() as u32), 0),
        // Digits beyond any scale are cut off: rounding to a template's places does not see them.
        Err(_) => {
            let cut = scale - i64::from(u16::MAX);
            Numeric::from_bigint(mantissa / crate::numeric::pow10(cut as u32), u16::MAX)
        }
    }
}

/// What `to_number` has read so far, and where it is.
struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    sign: Option<u8>,
    number: String,
    read_before: usize,
    read_after: usize,
    read_point: bool,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    /// Passes over up to `count` characters that cannot be part of a number.
    fn skip_foreign(&mut self, count: usize) {
        for _ in 0..count {
            match self.peek() {
                None | Some(b'0'..=b'9' | b'.' | b',' | b'+' | b'-') => return,
                Some(_) => {
                    self.at += 1;
                    while self.peek().is_some_and(|byte| byte & 0xc0 == 0x80) {
                        self.at += 1;
                    }
                }
            }
        }
    }

    fn digit_place(&mut self, template: &Template, mark: Mark) {
        if self.peek() == Some(b' ') {
            self.at += 1;
        }
        let Some(next) = self.peek() else { return };
        let nothing_read = self.read_before + self.read_after == 0;
        if self.sign.is_none() && mark != Mark::Point && nothing_read {
            match next {
                b'-' => self.take_sign(b'-'),
                b'+' => self.take_sign(b'+'),
                b'<' if template.brackets => self.take_sign(b'-'),
                _ => {}
            }
        }
        let Some(next) = self.peek() else { return };
        let mut is_read = false;
        if next.is_ascii_digit() {
            if self.read_point && self.read_after == template.after {
                return;
            }
            self.number.push(char::from(next));
            if self.read_point { self.read_after += 1 } else { self.read_before += 1 }
            is_read = true;
        } else if template.has_point && !self.read_point && next == b'.' {
            self.number.push('.');
            self.read_point = true;
            is_read = true;
        }
        if self.sign.is_none() && self.read_before + self.read_after > 0 {
            let behind = self.input.get(self.at + 1).copied();
            if template.sign.is_some() && is_read {
                if let Some(sign @ (b'-' | b'+')) = behind {
                    self.at += 1;
                    self.sign = Some(sign);
                }
            } else if !is_read && (template.plus || template.minus) && matches!(next, b'-' | b'+') {
                // Where a sign stands that the template places by its digits shows only here.
                self.sign = Some(next);
            }
        }
        self.at += 1;
    }

    fn take_sign(&mut self, sign: u8) {
        self.sign = Some(sign);
        self.at += 1;
    }
}

/// `to_number`; `None`, NULL, for an empty template.
///
/// # Errors
/// A template that contradicts itself or has no meaning for reading; text without a number.
pub fn to_number(text: &str, pattern: &str) -> SqlResult<Option<Numeric>> {
    if pattern.is_empty() {
        return Ok(None);
    }
    let template = Template::parse(pattern)?;
    if template.roman {
        return Err(SqlError::not_supported("\"RN\" not supported for input"));
    }
    if template.exponent {
        return Err(SqlError::not_supported("\"EEEE\" not supported for input"));
    }
    let mut reader = Reader {
        input: text.as_bytes(),
        at: 0,
        sign: None,
        number: String::new(),
        read_before: 0,
        read_after: 0,
        read_point: false,
    };
    for piece in &template.pieces {
        let Some(next) = reader.peek() else { break };
        match piece {
            Piece::Filler(..) => reader.skip_foreign(1),
            Piece::Field(Mark::Nine | Mark::Zero) => reader.digit_place(&template, Mark::Nine),
            Piece::Field(Mark::Point) => reader.digit_place(&template, Mark::Point),
            Piece::Field(Mark::Comma | Mark::Group) if !template.fill && next == b',' => reader.at += 1,
            Piece::Field(Mark::Currency) => reader.skip_foreign(1),
            Piece::Field(Mark::Ordinal(_)) => reader.skip_foreign(2),
            Piece::Field(mark @ (Mark::Minus | Mark::Plus | Mark::PlusOrMinus)) => match next {
                b'-' if *mark != Mark::Plus => reader.take_sign(b'-'),
                b'+' if *mark != Mark::Minus => reader.take_sign(b'+'),
                _ => reader.skip_foreign(1),
            },
            Piece::Field(_) => {}
        }
    }
    let digits = reader.number.strip_suffix('.').unwrap_or(&reader.number);
    let sign = char::from(reader.sign.unwrap_or(b' '));
    let value = Numeric::parse(&format!("{sign}{digits}"))?;
    let modifier = NumericModifier {
        precision: (template.before + template.shifted + reader.read_after).min(usize::from(u16::MAX)) as u16,
        scale: reader.read_after.min(1000) as i16,
    };
    let value = value.apply_modifier(Some(modifier))?;
    if template.has_shift {
        let factor = Numeric::from_i64(10).power(&Numeric::from_i64(-(template.shifted as i64)))?;
        return value.mul(&factor).map(Some);
    }
    Ok(Some(value))
}
