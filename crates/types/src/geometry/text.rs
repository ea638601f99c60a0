//! The text forms: `(1,2)`, `[(0,0),(1,1)]`, `<(0,0),5>`, `{1,-1,0}`, with the outer delimiters mostly optional on input.

use super::measure::{is_same, is_zero, line_through, slope};
use super::{Circle, Geometry, Line, Path, Point, Rect, Segment};
use crate::error::{SqlError, SqlResult, SqlState, raise};
use crate::sql_type::SqlType;
use crate::text::{parse_float8, write_float8};

/// What is left of an input, and what a mistake in it is reported as.
struct Reader<'a> {
    type_name: &'static str,
    input: &'a str,
    rest: &'a str,
}

fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

impl<'a> Reader<'a> {
    fn new(type_name: &'static str, input: &'a str) -> Self {
        let mut reader = Self { type_name, input, rest: input };
        reader.skip_blanks();
        reader
    }

    fn invalid(&self) -> SqlError {
        raise::invalid_syntax(self.type_name, self.input)
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches(is_blank);
    }

    /// Takes a character, if it is next.
    fn takes(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: char) -> SqlResult<()> {
        if self.takes(wanted) { Ok(()) } else { Err(self.invalid()) }
    }

    fn end(&self) -> SqlResult<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.invalid()) }
    }

    /// A number and the blanks around it.
    fn number(&mut self) -> SqlResult<f64> {
        self.skip_blanks();
        let length = float_length(self.rest);
        let (number, rest) = self.rest.split_at(length);
        if number.is_empty() {
            return Err(self.invalid());
        }
        self.rest = rest;
        self.skip_blanks();
        parse_float8(number)
    }

    fn pair(&mut self) -> SqlResult<Point> {
        self.skip_blanks();
        let delimited = self.takes('(');
        let x = self.number()?;
        self.expect(',')?;
        let y = self.number()?;
        if delimited {
            self.expect(')')?;
            self.skip_blanks();
        }
        Ok(Point::new(x, y))
    }

    /// So many points, and whether they stand in brackets.
    fn points(&mut self, count: usize, may_be_open: bool) -> SqlResult<(Vec<Point>, bool)> {
        let mut depth = 0;
        self.skip_blanks();
        let is_open = self.rest.starts_with('[');
        if is_open {
            if !may_be_open {
                return Err(self.invalid());
            }
            self.rest = &self.rest[1..];
            depth += 1;
        } else if let Some(inner) = self.rest.strip_prefix('(') {
            let inner = inner.trim_start_matches(is_blank);
            // A parenthesis around all points, unless it is the first point's own.
            if inner.starts_with('(') || !inner.contains('(') {
                self.rest = inner;
                depth += 1;
            }
        }
        let mut points = Vec::with_capacity(count);
        for _ in 0..count {
            points.push(self.pair()?);
            self.takes(',');
        }
        while depth > 0 {
            if !self.takes(')') && !(is_open && depth == 1 && self.takes(']')) {
                return Err(self.invalid());
            }
            depth -= 1;
            self.skip_blanks();
        }
        Ok((points, is_open))
    }

    /// How many points the commas say there are.
    fn point_count(&self) -> SqlResult<usize> {
        let commas = self.input.matches(',').count();
        if commas % 2 == 1 { Ok(commas.div_ceil(2)) } else { Err(self.invalid()) }
    }
}

/// How much of a text is a floating-point number.
fn float_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    for word in ["infinity", "inf", "nan"] {
        if bytes[sign..].get(..word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes())) {
            return sign + word.len();
        }
    }
    let whole = digits(sign);
    let mut end = sign + whole;
    let mut fraction = 0;
    if bytes.get(end) == Some(&b'.') {
        fraction = digits(end + 1);
        end += usize::from(whole + fraction > 0) + fraction;
    }
    if whole + fraction == 0 {
        return 0;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + signed);
        if exponent > 0 {
            end += 1 + signed + exponent;
        }
    }
    end
}

fn invalid_line(what: &str) -> SqlError {
    SqlError::new(SqlState::InvalidTextRepresentation, format!("invalid line specification: {what}"))
}

impl Geometry {
    /// Reads a value of one of the geometric types.
    ///
    /// # Errors
    /// 22P02.
    pub fn parse(ty: &SqlType, input: &str) -> SqlResult<Self> {
        let mut reader = Reader::new(ty.sql_scalar_name(), input);
        let geometry = match ty {
            SqlType::Point => Self::Point(reader.pair()?),
            SqlType::LSeg => {
                let (points, _) = reader.points(2, true)?;
                Self::Segment(Segment(points[0], points[1]))
            }
            SqlType::Box => {
                let (points, _) = reader.points(2, false)?;
                Self::Rect(Rect::new(points[0], points[1]))
            }
            SqlType::Line => Self::Line(parse_line(&mut reader)?),
            SqlType::Path => {
                let count = reader.point_count()?;
                let wrapped = reader.rest.starts_with('(') && reader.rest.rfind('(') == Some(0) && reader.takes('(');
                let (points, is_open) = reader.points(count, true)?;
                if wrapped {
                    reader.expect(')')?;
                    reader.skip_blanks();
                }
                Self::Path(Path { is_closed: !is_open, points: points.into() })
            }
            SqlType::Polygon => {
                let count = reader.point_count()?;
                Self::Polygon(reader.points(count, false)?.0.into())
            }
            SqlType::Circle => Self::Circle(parse_circle(&mut reader)?),
            other => return Err(SqlError::internal(format!("{other} is no geometric type"))),
        };
        reader.end()?;
        Ok(geometry)
    }

    pub fn write(&self, extra_float_digits: i32, out: &mut Vec<u8>) {
        let number = |value: f64, out: &mut Vec<u8>| write_float8(value, extra_float_digits, out);
        let pair = |point: &Point, out: &mut Vec<u8>| {
            out.push(b'(');
            number(point.x, out);
            out.push(b',');
            number(point.y, out);
            out.push(b')');
        };
        let list = |points: &[Point], out: &mut Vec<u8>| {
            for (at, point) in points.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                pair(point, out);
            }
        };
        match self {
            Self::Point(point) => pair(point, out),
            Self::Line(line) => {
                for (before, value) in [(b'{', line.a), (b',', line.b), (b',', line.c)] {
                    out.push(before);
                    number(value, out);
                }
                out.push(b'}');
            }
            Self::Segment(Segment(from, to)) => {
                out.push(b'[');
                list(&[*from, *to], out);
                out.push(b']');
            }
            Self::Rect(rect) => list(&[rect.high, rect.low], out),
            Self::Path(path) => {
                out.push(if path.is_closed { b'(' } else { b'[' });
                list(&path.points, out);
                out.push(if path.is_closed { b')' } else { b']' });
            }
            Self::Polygon(points) => {
                out.push(b'(');
                list(points, out);
                out.push(b')');
            }
            Self::Circle(circle) => {
                out.push(b'<');
                pair(&circle.center, out);
                out.push(b',');
                number(circle.radius, out);
                out.push(b'>');
            }
        }
    }
}

fn parse_line(reader: &mut Reader<'_>) -> SqlResult<Line> {
    if reader.takes('{') {
        let a = reader.number()?;
        reader.expect(',')?;
        let b = reader.number()?;
        reader.expect(',')?;
        let c = reader.number()?;
        reader.expect('}')?;
        reader.skip_blanks();
        reader.end()?;
        if is_zero(a) && is_zero(b) {
            return Err(invalid_line("A and B cannot both be zero"));
        }
        return Ok(Line { a, b, c });
    }
    let (points, _) = reader.points(2, true)?;
    reader.end()?;
    if is_same(points[0], points[1]) {
        return Err(invalid_line("must be two distinct points"));
    }
    line_through(points[0], slope(points[0], points[1])?)
}

fn parse_circle(reader: &mut Reader<'_>) -> SqlResult<Circle> {
    let mut depth = 0;
    if reader.takes('<') {
        depth += 1;
    } else if let Some(inner) = reader.rest.strip_prefix('(') {
        let inner = inner.trim_start_matches(is_blank);
        if inner.starts_with('(') {
            reader.rest = inner;
            depth += 1;
        }
    }
    let center = reader.pair()?;
    reader.takes(',');
    let radius = reader.number()?;
    if radius < 0.0 {
        return Err(reader.invalid());
    }
    while depth > 0 {
        if !reader.takes(')') && !(depth == 1 && reader.takes('>')) {
            return Err(reader.invalid());
        }
        depth -= 1;
        reader.skip_blanks();
    }
    Ok(Circle { center, radius })
}
