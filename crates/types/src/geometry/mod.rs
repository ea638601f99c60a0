//! The geometric types: point, line, lseg, box, path, polygon and circle. Documentation, sections 8.8 and 9.11.
//!
//! Coordinates are doubles, compared with PostgreSQL's tolerance of 1e-6 ([`measure::EPSILON`]). The types have no btree
//! order: `<` of boxes compares areas, `<` of paths counts points. So they are not sorted, grouped or indexed.
//!
//! **Invariants**
//! - *box-corners*: the first corner of a box is the upper right one, the second the lower left one. Upheld by
//!   [`Rect::new`].
//! - *line-is-one*: not both A and B of a line are zero.
//!
//! Deliberately left out: indexes over them, which are GiST and SP-GiST in PostgreSQL.

pub mod measure;
pub mod shapes;
mod text;

use serde::{Deserialize, Serialize};

use crate::error::{SqlError, SqlResult, SqlState, raise};
use crate::sql_type::SqlType;

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

/// The points where `a * x + b * y + c` is zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub a: f64,
    pub b: f64,
    pub c: f64,
}

/// From one point to another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Segment(pub Point, pub Point);

/// See *box-corners*.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rect {
    pub high: Point,
    pub low: Point,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Path {
    pub is_closed: bool,
    pub points: Box<[Point]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Circle {
    pub center: Point,
    pub radius: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Geometry {
    Point(Point),
    Line(Line),
    Segment(Segment),
    Rect(Rect),
    Path(Path),
    /// Never empty.
    Polygon(Box<[Point]>),
    Circle(Circle),
}

impl Point {
    #[must_use]
    pub const fn new(x: f64, y: f64) -> Self {
        Self { x, y }
    }
}

impl Rect {
    /// Any two opposite corners.
    #[must_use]
    pub fn new(a: Point, b: Point) -> Self {
        // NaN is above every number.
        let sorted = |a: f64, b: f64| if crate::compare::compare_floats(a, b).is_gt() { (a, b) } else { (b, a) };
        let ((high_x, low_x), (high_y, low_y)) = (sorted(a.x, b.x), sorted(a.y, b.y));
        Self { high: Point::new(high_x, high_y), low: Point::new(low_x, low_y) }
    }

    /// The least box around points; of none, the box of one at the origin.
    #[must_use]
    pub fn around(points: &[Point]) -> Self {
        let first = points.first().copied().unwrap_or_default();
        points.iter().fold(Self { high: first, low: first }, |found, point| {
            let wider = |a: f64, b: f64, above: bool| {
                let order = crate::compare::compare_floats(a, b);
                if order.is_gt() == above { a } else { b }
            };
            Self {
                high: Point::new(wider(found.high.x, point.x, true), wider(found.high.y, point.y, true)),
                low: Point::new(wider(found.low.x, point.x, false), wider(found.low.y, point.y, false)),
            }
        })
    }
}

impl Geometry {
    #[must_use]
    pub const fn sql_type(&self) -> SqlType {
        match self {
            Self::Point(_) => SqlType::Point,
            Self::Line(_) => SqlType::Line,
            Self::Segment(_) => SqlType::LSeg,
            Self::Rect(_) => SqlType::Box,
            Self::Path(_) => SqlType::Path,
            Self::Polygon(_) => SqlType::Polygon,
            Self::Circle(_) => SqlType::Circle,
        }
    }

    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let points = match self {
            Self::Path(path) => path.points.len(),
            Self::Polygon(points) => points.len(),
            Self::Point(_) | Self::Line(_) | Self::Segment(_) | Self::Rect(_) | Self::Circle(_) => 0,
        };
        size_of::<Self>() + 16 + points * size_of::<Point>()
    }

    /// The value as one of another type, where PostgreSQL has a cast.
    ///
    /// # Errors
    /// 22003, 22023 for an open path as a polygon.
    pub fn cast(&self, to: &SqlType) -> SqlResult<Self> {
        Ok(match (self, to) {
            (Self::Point(point), SqlType::Box) => Self::Rect(Rect { high: *point, low: *point }),
            (Self::Segment(segment), SqlType::Point) => Self::Point(segment.center()?),
            (Self::Rect(rect), SqlType::Point) => Self::Point(rect.center()?),
            (Self::Rect(rect), SqlType::LSeg) => Self::Segment(Segment(rect.high, rect.low)),
            (Self::Rect(rect), SqlType::Circle) => Self::Circle(Circle::around(*rect)?),
            (Self::Rect(Rect { high, low }), SqlType::Polygon) => {
                Self::Polygon([*low, Point::new(low.x, high.y), *high, Point::new(high.x, low.y)].into())
            }
            (Self::Path(path), SqlType::Polygon) if path.is_closed => Self::Polygon(path.points.clone()),
            (Self::Path(_), SqlType::Polygon) => {
                return Err(raise::invalid_parameter("open path cannot be converted to polygon"));
            }
            (Self::Polygon(points), SqlType::Path) => Self::Path(Path { is_closed: true, points: points.clone() }),
            (Self::Polygon(points), SqlType::Point) => Self::Point(shapes::circle_of_polygon(points)?.center),
            (Self::Polygon(points), SqlType::Box) => Self::Rect(Rect::around(points)),
            (Self::Polygon(points), SqlType::Circle) => Self::Circle(shapes::circle_of_polygon(points)?),
            (Self::Circle(circle), SqlType::Point) => Self::Point(circle.center),
            (Self::Circle(circle), SqlType::Box) => Self::Rect(circle.inner_box()?),
            (Self::Circle(circle), SqlType::Polygon) => Self::Polygon(circle.polygon(12)?),
            (from, to) => return Err(SqlError::internal(format!("{} cast to {to}", from.sql_type()))),
        })
    }

    /// Bit for bit the same.
    #[must_use]
    pub fn is_identical(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.to_binary() == other.to_binary()
    }

    #[must_use]
    pub fn to_binary(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_binary(&mut out);
        out
    }

    /// As clients receive it.
    pub fn write_binary(&self, out: &mut Vec<u8>) {
        let mut put = |values: &[f64]| values.iter().for_each(|value| out.extend_from_slice(&value.to_be_bytes()));
        match self {
            Self::Point(p) => put(&[p.x, p.y]),
            Self::Line(line) => put(&[line.a, line.b, line.c]),
            Self::Segment(Segment(a, b)) | Self::Rect(Rect { high: a, low: b }) => put(&[a.x, a.y, b.x, b.y]),
            Self::Circle(circle) => put(&[circle.center.x, circle.center.y, circle.radius]),
            Self::Path(Path { points, .. }) | Self::Polygon(points) => {
                if let Self::Path(path) = self {
                    out.push(path.is_closed.into());
                }
                out.extend_from_slice(&(points.len() as i32).to_be_bytes());
                for point in points {
                    out.extend_from_slice(&point.x.to_be_bytes());
                    out.extend_from_slice(&point.y.to_be_bytes());
                }
            }
        }
    }

    /// As clients send it.
    ///
    /// # Errors
    /// 22P03, 0A000 for another type.
    pub fn parse_binary(ty: &SqlType, input: &[u8]) -> SqlResult<Self> {
        let invalid = |message: String| SqlError::new(SqlState::InvalidBinaryRepresentation, message);
        let wrong_length = || invalid(format!("incorrect binary data format for type {ty}"));
        let floats = |input: &[u8]| -> SqlResult<Vec<f64>> {
            let (chunks, rest) = input.as_chunks::<8>();
            let values = chunks.iter().map(|chunk| f64::from_be_bytes(*chunk)).collect();
            if rest.is_empty() { Ok(values) } else { Err(wrong_length()) }
        };
        let points = |input: &[u8]| -> SqlResult<Box<[Point]>> {
            let (count, rest) = input.split_first_chunk::<4>().ok_or_else(wrong_length)?;
            let count = i32::from_be_bytes(*count);
            if count <= 0 {
                return Err(invalid(format!("invalid number of points in external \"{ty}\" value")));
            }
            let points: Box<[Point]> = floats(rest)?.as_chunks::<2>().0.iter().map(|[x, y]| Point::new(*x, *y)).collect();
            if rest.len() == points.len() * 16 && points.len() == count as usize { Ok(points) } else { Err(wrong_length()) }
        };
        Ok(match ty {
            SqlType::Path => {
                let (closed, rest) = input.split_first().ok_or_else(wrong_length)?;
                Self::Path(Path { is_closed: *closed != 0, points: points(rest)? })
            }
            SqlType::Polygon => Self::Polygon(points(input)?),
            _ => match (ty, &floats(input)?[..]) {
                (SqlType::Point, &[x, y]) => Self::Point(Point::new(x, y)),
                (SqlType::LSeg, &[a, b, c, d]) => Self::Segment(Segment(Point::new(a, b), Point::new(c, d))),
                (SqlType::Box, &[a, b, c, d]) => Self::Rect(Rect::new(Point::new(a, b), Point::new(c, d))),
                (SqlType::Line, &[a, b, c]) => {
                    if measure::is_zero(a) && measure::is_zero(b) {
                        return Err(invalid("invalid line specification: A and B cannot both be zero".into()));
                    }
                    Self::Line(Line { a, b, c })
                }
                (SqlType::Circle, &[x, y, radius]) => {
                    if radius < 0.0 {
                        return Err(invalid("invalid radius in external \"circle\" value".into()));
                    }
                    Self::Circle(Circle { center: Point::new(x, y), radius })
                }
                _ => return Err(wrong_length()),
            },
        })
    }
}
