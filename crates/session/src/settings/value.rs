//! Values of settings: read by kind and unit, and shown as PostgreSQL shows them.

use types::{SqlError, SqlResult, SqlState};

use super::known::{Kind, Known};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    None,
    /// So many bytes.
    Memory(i64),
    /// So many microseconds.
    Time(i64),
}

const MEMORY: [(&str, i64); 5] =
    [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)];
const TIME: [(&str, i64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("min", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1000),
    ("us", 1),
];

impl Unit {
    /// As `pg_settings` has it.
    pub fn named(name: &str) -> Self {
        match name {
            "B" => Self::Memory(1),
            "kB" => Self::Memory(1 << 10),
            "8kB" => Self::Memory(8 << 10),
            "MB" => Self::Memory(1 << 20),
            "ms" => Self::Time(1000),
            "s" => Self::Time(1_000_000),
            "min" => Self::Time(60_000_000),
            _ => Self::None,
        }
    }

    fn base(self) -> i64 {
        match self {
            Self::None => 1,
            Self::Memory(base) | Self::Time(base) => base,
        }
    }

    fn names(self) -> &'static [(&'static str, i64)] {
        match self {
            Self::None => &[],
            Self::Memory(_) => &MEMORY,
            Self::Time(_) => &TIME,
        }
    }

    /// In the largest unit that shows it whole.
    pub fn show_int(self, value: i64) -> String {
        let size = i128::from(value) * i128::from(self.base());
        let fits = |(_, unit): &&(&str, i64)| size % i128::from(*unit) == 0;
        match self.names().iter().find(fits) {
            Some((name, unit)) if value > 0 => format!("{}{name}", size / i128::from(*unit)),
            _ => value.to_string(),
        }
    }

    pub fn show_real(self, value: f64) -> String {
        let size = value * self.base() as f64;
        let fits = |(_, unit): &&(&str, i64)| size % *unit as f64 == 0.0;
        match self.names().iter().find(fits) {
            Some((name, unit)) if value > 0.0 => format!("{}{name}", general(size / *unit as f64)),
            _ => general(value),
        }
    }

    fn hint(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Memory(_) => {
                Some("Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\".")
            }
            Self::Time(_) => {
                Some("Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\".")
            }
        }
    }
}

/// C's `%g`.
fn general(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:.5e}");
    let (digits, exponent) = scientific.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..6).contains(&exponent) {
        trim(&format!("{value:.*}", (5 - exponent) as usize))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trim(digits), exponent.abs())
    }
}

fn invalid(known: &Known, value: &str) -> SqlError {
    SqlError::new(
        SqlState::InvalidParameterValue,
        format!("invalid value for parameter \"{}\": \"{value}\"", known.name),
    )
}

/// A number as it is written, and what follows it. Hexadecimal and octal ones are whole.
fn number(text: &str) -> Option<(f64, &str)> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let radix = |digits: &'static str, base: u32, from: &str| -> Option<(f64, usize)> {
        let length = from.find(|c: char| !digits.contains(c.to_ascii_lowercase())).unwrap_or(from.len());
        let value = i64::from_str_radix(&from[..length], base).ok()?;
        Some((value as f64, length))
    };
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        let (value, length) = radix("0123456789abcdef", 16, hex)?;
        return Some((sign * value, &hex[length..]));
    }
    let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let goes_on = digits[length..].starts_with(['.', 'e', 'E']);
    if !goes_on && length > 1 && digits.starts_with('0') {
        let (value, length) = radix("01234567", 8, digits)?;
        return Some((sign * value, &digits[length..]));
    }
    let mut end = length;
    let bytes = digits.as_bytes();
    if bytes.get(end) == Some(&b'.') {
        end += 1;
        end += digits[end..].find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len() - end);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let from = end + 1 + sign;
        let count = digits[from.min(digits.len())..].bytes().take_while(u8::is_ascii_digit).count();
        if count > 0 {
            end = from + count;
        }
    }
    Some((sign * digits[..end].parse::<f64>().ok()?, &digits[end..]))
}

/// A number in the setting's own unit.
fn in_unit(known: &Known, value: &str) -> SqlResult<f64> {
    let wrong_unit = || match known.unit.hint() {
        Some(hint) => invalid(known, value).with_hint(hint),
        None => invalid(known, value),
    };
    let (number, rest) = number(value.trim()).ok_or_else(|| invalid(known, value))?;
    let unit = rest.trim();
    if unit.is_empty() {
        return Ok(number);
    }
    let (_, size) = known.unit.names().iter().find(|(name, _)| *name == unit).ok_or_else(wrong_unit)?;
    // What divides evenly stays exact.
    let base = known.unit.base();
    Ok(if size % base == 0 { number * (size / base) as f64 } else { number * *size as f64 / base as f64 })
}

fn outside(known: &Known, value: &str, min: &str, max: &str) -> SqlError {
    let unit = if known.unit_name.is_empty() { String::new() } else { format!(" {}", known.unit_name) };
    SqlError::new(
        SqlState::InvalidParameterValue,
        format!("{value}{unit} is outside the valid range for parameter \"{}\" ({min} .. {max})", known.name),
    )
}

/// A value as SHOW shows it.
///
/// # Errors
/// 22023 where it is not one of the setting's.
pub(crate) fn canonical(known: &Known, value: &str) -> SqlResult<String> {
    match &known.kind {
        Kind::Bool => match parse_bool(value) {
            Some(is_on) => Ok(if is_on { "on" } else { "off" }.to_owned()),
            None => Err(SqlError::new(
                SqlState::InvalidParameterValue,
                format!("parameter \"{}\" requires a Boolean value", known.name),
            )),
        },
        Kind::Int { min, max } => {
            if is_mode_of_files(known.name) {
                return in_unit(known, value).map(|mode| format!("{:04o}", mode as u32));
            }
            let number = in_unit(known, value)?.round_ties_even();
            if !(f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number) {
                return Err(invalid(known, value).with_hint("Value exceeds integer range."));
            }
            let number = number as i64;
            if number < *min || number > *max {
                return Err(outside(known, &number.to_string(), &min.to_string(), &max.to_string()));
            }
            Ok(known.unit.show_int(number))
        }
        Kind::Real { min, max } => {
            let number = in_unit(known, value)?;
            if number < *min || number > *max {
                return Err(outside(known, &general(number), &general(*min), &general(*max)));
            }
            Ok(known.unit.show_real(number))
        }
        Kind::Enum(values) => {
            if let Some(found) = values.iter().find(|known| known.eq_ignore_ascii_case(value)) {
                return Ok((*found).to_owned());
            }
            hidden(known.name, values, value).ok_or_else(|| {
                invalid(known, value).with_hint(format!("Available values: {}.", values.join(", ")))
            })
        }
        Kind::Text => Ok(value.to_owned()),
    }
}

/// Values of enumerations that PostgreSQL takes and does not list.
fn hidden(name: &str, values: &[&str], value: &str) -> Option<String> {
    if name.ends_with("_messages") || name.starts_with("log_min") {
        return ["debug", "info", "fatal", "panic"]
            .into_iter()
            .find(|word| word.eq_ignore_ascii_case(value))
            .map(|word| if word == "debug" { "debug2" } else { word }.to_owned());
    }
    // Others were switches once.
    let word = if parse_bool(value)? { "on" } else { "off" };
    values.contains(&word).then(|| word.to_owned())
}

/// They are shown in octal.
fn is_mode_of_files(name: &str) -> bool {
    matches!(name, "data_directory_mode" | "log_file_mode" | "unix_socket_permissions")
}

/// A value that SHOW shows, as `pg_settings` has it: in the setting's own unit, without it.
pub(crate) fn bare(known: &Known, shown: &str) -> String {
    if known.unit == Unit::None {
        return shown.to_owned();
    }
    match in_unit(known, shown) {
        Ok(number) => general_long(number),
        Err(_) => shown.to_owned(),
    }
}

fn general_long(number: f64) -> String {
    if number.fract() == 0.0 { format!("{number:.0}") } else { general(number) }
}

/// A switch: any beginning of a word that can be no other's.
fn parse_bool(value: &str) -> Option<bool> {
    Some(match value.trim().to_ascii_lowercase().as_str() {
        "t" | "tr" | "tru" | "true" | "y" | "ye" | "yes" | "on" | "1" => true,
        "f" | "fa" | "fal" | "fals" | "false" | "n" | "no" | "of" | "off" | "0" => false,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::known::known;

    #[test]
    fn values_are_shown_in_the_largest_whole_unit() {
        let cases = [
            ("statement_timeout", "3000", "3s", "3000"),
            ("statement_timeout", "1.5h", "90min", "5400000"),
            ("statement_timeout", "1500us", "2ms", "2"),
            ("statement_timeout", "0x10", "16ms", "16"),
            ("statement_timeout", "010", "8ms", "8"),
            ("statement_timeout", "0", "0", "0"),
            ("work_mem", "1GB", "1GB", "1048576"),
            ("work_mem", "8193", "8193kB", "8193"),
            ("shared_buffers", "128MB", "128MB", "16384"),
            ("random_page_cost", "1e2", "100", "100"),
            ("vacuum_cost_delay", "1.5", "1500us", "1.5"),
            ("vacuum_cost_delay", "0.5", "500us", "0.5"),
            ("enable_seqscan", "of", "off", "off"),
            ("constraint_exclusion", "1", "on", "on"),
            ("client_min_messages", "WARNING", "warning", "warning"),
        ];
        for (name, value, shown, setting) in cases {
            let known = known(name).unwrap();
            let found = canonical(known, value).unwrap();
            assert_eq!((found.as_str(), bare(known, &found).as_str()), (shown, setting), "{name} = {value}");
        }
    }
}
