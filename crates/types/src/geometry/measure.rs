//! What points, lines, segments and boxes have to do with one another: equality within a tolerance, crossings, closest
//! points, areas. [`shapes`](super::shapes) goes on with what is made of them.
//!
//! The answers are PostgreSQL's to the last bit, so its order of floating-point operations is kept. NaN takes part: it
//! equals itself and lies nowhere.

use super::{Line, Point, Rect, Segment};
use crate::compare::compare_floats;
use crate::error::{SqlError, SqlResult, SqlState, raise};

pub const EPSILON: f64 = 1e-6;

#[must_use]
pub fn is_zero(a: f64) -> bool {
    a.abs() <= EPSILON
}

#[must_use]
pub fn equal(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= EPSILON
}

#[must_use]
pub fn less(a: f64, b: f64) -> bool {
    a + EPSILON < b
}

#[must_use]
pub fn at_most(a: f64, b: f64) -> bool {
    a <= b + EPSILON
}

/// NaN is above every number and equal to itself.
pub(super) fn is_below(a: f64, b: f64) -> bool {
    compare_floats(a, b).is_lt()
}

fn lesser(a: f64, b: f64) -> f64 {
    if is_below(a, b) { a } else { b }
}

fn greater(a: f64, b: f64) -> f64 {
    if is_below(b, a) { a } else { b }
}

fn out_of_range(how: &str) -> SqlError {
    SqlError::new(SqlState::NumericValueOutOfRange, format!("value out of range: {how}"))
}

fn finite(value: f64, a: f64, b: f64) -> SqlResult<f64> {
    if value.is_infinite() && !a.is_infinite() && !b.is_infinite() { Err(out_of_range("overflow")) } else { Ok(value) }
}

pub(super) fn plus(a: f64, b: f64) -> SqlResult<f64> {
    finite(a + b, a, b)
}

pub(super) fn minus(a: f64, b: f64) -> SqlResult<f64> {
    finite(a - b, a, b)
}

pub(super) fn times(a: f64, b: f64) -> SqlResult<f64> {
    let value = finite(a * b, a, b)?;
    if value == 0.0 && a != 0.0 && b != 0.0 { Err(out_of_range("underflow")) } else { Ok(value) }
}

pub(super) fn over(a: f64, b: f64) -> SqlResult<f64> {
    if b == 0.0 && !a.is_nan() {
        return Err(raise::division_by_zero());
    }
    let value = a / b;
    if value.is_infinite() && !a.is_infinite() {
        return Err(out_of_range("overflow"));
    }
    if value == 0.0 && a != 0.0 && !b.is_infinite() {
        return Err(out_of_range("underflow"));
    }
    Ok(value)
}

/// The length of a vector.
///
/// # Errors
/// 22003.
pub fn hypotenuse(x: f64, y: f64) -> SqlResult<f64> {
    if x.is_infinite() || y.is_infinite() {
        return Ok(f64::INFINITY);
    }
    if x.is_nan() || y.is_nan() {
        return Ok(f64::NAN);
    }
    let (x, y) = (x.abs().max(y.abs()), x.abs().min(y.abs()));
    if y == 0.0 {
        return Ok(x);
    }
    let ratio = y / x;
    let length = x * (1.0 + ratio * ratio).sqrt();
    if length.is_infinite() {
        return Err(out_of_range("overflow"));
    }
    if length == 0.0 { Err(out_of_range("underflow")) } else { Ok(length) }
}

// Points.

#[must_use]
pub fn is_same(a: Point, b: Point) -> bool {
    if [a.x, a.y, b.x, b.y].iter().any(|value| value.is_nan()) {
        return compare_floats(a.x, b.x).is_eq() && compare_floats(a.y, b.y).is_eq();
    }
    equal(a.x, b.x) && equal(a.y, b.y)
}

/// # Errors
/// 22003.
pub fn distance(a: Point, b: Point) -> SqlResult<f64> {
    hypotenuse(minus(a.x, b.x)?, minus(a.y, b.y)?)
}

impl Point {
    /// # Errors
    /// 22003.
    pub fn add(self, by: Self) -> SqlResult<Self> {
        Ok(Self::new(plus(self.x, by.x)?, plus(self.y, by.y)?))
    }

    /// # Errors
    /// 22003.
    pub fn sub(self, by: Self) -> SqlResult<Self> {
        Ok(Self::new(minus(self.x, by.x)?, minus(self.y, by.y)?))
    }

    /// As complex numbers: turned and scaled.
    ///
    /// # Errors
    /// 22003.
    pub fn mul(self, by: Self) -> SqlResult<Self> {
        Ok(Self::new(
            minus(times(self.x, by.x)?, times(self.y, by.y)?)?,
            plus(times(self.x, by.y)?, times(self.y, by.x)?)?,
        ))
    }

    /// # Errors
    /// 22003, 22012.
    pub fn div(self, by: Self) -> SqlResult<Self> {
        let size = plus(times(by.x, by.x)?, times(by.y, by.y)?)?;
        Ok(Self::new(
            over(plus(times(self.x, by.x)?, times(self.y, by.y)?)?, size)?,
            over(minus(times(self.y, by.x)?, times(self.x, by.y)?)?, size)?,
        ))
    }
}

/// Infinite for points above one another.
///
/// # Errors
/// 22003.
pub fn slope(a: Point, b: Point) -> SqlResult<f64> {
    if equal(a.x, b.x) {
        return Ok(f64::INFINITY);
    }
    if equal(a.y, b.y) {
        return Ok(0.0);
    }
    over(minus(a.y, b.y)?, minus(a.x, b.x)?)
}

/// The slope of what is perpendicular.
fn inverse_slope(a: Point, b: Point) -> SqlResult<f64> {
    if equal(a.x, b.x) {
        return Ok(0.0);
    }
    if equal(a.y, b.y) {
        return Ok(f64::INFINITY);
    }
    over(minus(a.x, b.x)?, minus(b.y, a.y)?)
}

fn middle(a: Point, b: Point) -> SqlResult<Point> {
    Ok(Point::new(over(plus(a.x, b.x)?, 2.0)?, over(plus(a.y, b.y)?, 2.0)?))
}

// Lines.

/// The line through a point with a slope.
///
/// # Errors
/// 22003.
pub fn line_through(point: Point, slope: f64) -> SqlResult<Line> {
    if slope.is_infinite() {
        return Ok(Line { a: -1.0, b: 0.0, c: point.x });
    }
    if slope == 0.0 {
        return Ok(Line { a: 0.0, b: -1.0, c: point.y });
    }
    let c = minus(point.y, times(slope, point.x)?)?;
    // Adding zero takes the sign off a zero.
    Ok(Line { a: slope, b: -1.0, c: c + 0.0 })
}

impl Line {
    #[must_use]
    pub fn is_vertical(self) -> bool {
        is_zero(self.b)
    }

    #[must_use]
    pub fn is_horizontal(self) -> bool {
        is_zero(self.a)
    }

    /// # Errors
    /// 22003.
    pub fn slope(self) -> SqlResult<f64> {
        if is_zero(self.a) {
            Ok(0.0)
        } else if is_zero(self.b) {
            Ok(f64::INFINITY)
        } else {
            over(self.a, -self.b)
        }
    }

    fn inverse_slope(self) -> SqlResult<f64> {
        if is_zero(self.a) {
            Ok(f64::INFINITY)
        } else if is_zero(self.b) {
            Ok(0.0)
        } else {
            over(self.b, self.a)
        }
    }

    /// # Errors
    /// 22003.
    pub fn contains(self, point: Point) -> SqlResult<bool> {
        Ok(is_zero(plus(plus(times(self.a, point.x)?, times(self.b, point.y)?)?, self.c)?))
    }

    /// Where two lines cross; none for parallel ones.
    ///
    /// # Errors
    /// 22003.
    pub fn crossing(self, other: Self) -> SqlResult<Option<Point>> {
        let (one, two) = if !is_zero(self.b) {
            (self, other)
        } else if !is_zero(other.b) {
            (other, self)
        } else {
            return Ok(None);
        };
        if equal(two.a, times(one.a, over(two.b, one.b)?)?) {
            return Ok(None);
        }
        let x = over(
            minus(times(one.b, two.c)?, times(two.b, one.c)?)?,
            minus(times(one.a, two.b)?, times(two.a, one.b)?)?,
        )?;
        let y = over(-plus(times(one.a, x)?, one.c)?, one.b)?;
        Ok(Some(Point::new(x + 0.0, y + 0.0)))
    }

    /// # Errors
    /// 22003.
    pub fn is_perpendicular(self, other: Self) -> SqlResult<bool> {
        Ok(if is_zero(self.a) {
            is_zero(other.b)
        } else if is_zero(other.a) {
            is_zero(self.b)
        } else if is_zero(self.b) {
            is_zero(other.a)
        } else if is_zero(other.b) {
            is_zero(self.a)
        } else {
            equal(over(times(self.a, other.a)?, times(self.b, other.b)?)?, -1.0)
        })
    }

    /// Whether the same points are on both.
    ///
    /// # Errors
    /// 22003.
    pub fn is_same(self, other: Self) -> SqlResult<bool> {
        let (ours, theirs) = ([self.a, self.b, self.c], [other.a, other.b, other.c]);
        if ours.iter().chain(&theirs).any(|value| value.is_nan()) {
            return Ok(ours.iter().zip(&theirs).all(|(a, b)| compare_floats(*a, *b).is_eq()));
        }
        let ratio = match ours.iter().zip(&theirs).find(|(_, theirs)| !is_zero(**theirs)) {
            Some((ours, theirs)) => over(*ours, *theirs)?,
            None => 1.0,
        };
        for (ours, theirs) in ours.iter().zip(&theirs) {
            if !equal(*ours, times(ratio, *theirs)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// # Errors
    /// 22003.
    pub fn distance(self, other: Self) -> SqlResult<f64> {
        if self.crossing(other)?.is_some() {
            return Ok(0.0);
        }
        let is_usable = |a: f64, b: f64| !is_zero(a) && !a.is_nan() && !is_zero(b) && !b.is_nan();
        let ratio = if is_usable(self.a, other.a) {
            over(self.a, other.a)?
        } else if is_usable(self.b, other.b) {
            over(self.b, other.b)?
        } else {
            1.0
        };
        over(minus(self.c, times(ratio, other.c)?)?.abs(), hypotenuse(self.a, self.b)?)
    }

    /// The point on the line that is closest, and how far away it is: NaN when rounding finds none.
    ///
    /// # Errors
    /// 22003.
    pub fn closest(self, point: Point) -> SqlResult<(Point, f64)> {
        let perpendicular = line_through(point, self.inverse_slope()?)?;
        match perpendicular.crossing(self)? {
            None => Ok((point, f64::NAN)),
            Some(found) => Ok((found, distance(found, point)?)),
        }
    }
}

// Segments.

/// The closer of two found points; the first on a tie.
fn closer(found: (Point, f64), other: (Point, f64)) -> (Point, f64) {
    if is_below(other.1, found.1) { other } else { found }
}

impl Segment {
    /// # Errors
    /// 22003.
    pub fn length(self) -> SqlResult<f64> {
        distance(self.0, self.1)
    }

    /// # Errors
    /// 22003.
    pub fn center(self) -> SqlResult<Point> {
        middle(self.0, self.1)
    }

    #[must_use]
    pub fn is_vertical(self) -> bool {
        equal(self.0.x, self.1.x)
    }

    #[must_use]
    pub fn is_horizontal(self) -> bool {
        equal(self.0.y, self.1.y)
    }

    /// # Errors
    /// 22003.
    pub fn slope(self) -> SqlResult<f64> {
        slope(self.0, self.1)
    }

    /// # Errors
    /// 22003.
    pub fn is_parallel(self, other: Self) -> SqlResult<bool> {
        Ok(equal(self.slope()?, other.slope()?))
    }

    /// # Errors
    /// 22003.
    pub fn is_perpendicular(self, other: Self) -> SqlResult<bool> {
        Ok(equal(self.slope()?, inverse_slope(other.0, other.1)?))
    }

    /// # Errors
    /// 22003.
    pub fn contains(self, point: Point) -> SqlResult<bool> {
        Ok(equal(plus(distance(point, self.0)?, distance(point, self.1)?)?, self.length()?))
    }

    /// Where it crosses a line.
    ///
    /// # Errors
    /// 22003.
    pub fn crossing_line(self, line: Line) -> SqlResult<Option<Point>> {
        let own = line_through(self.0, self.slope()?)?;
        let Some(found) = own.crossing(line)? else { return Ok(None) };
        if !self.contains(found)? {
            return Ok(None);
        }
        // An end is given exactly.
        Ok(Some([self.0, self.1].into_iter().find(|end| is_same(*end, found)).unwrap_or(found)))
    }

    /// # Errors
    /// 22003.
    pub fn crossing(self, other: Self) -> SqlResult<Option<Point>> {
        let line = line_through(other.0, other.slope()?)?;
        match self.crossing_line(line)? {
            Some(found) if other.contains(found)? => Ok(Some(found)),
            _ => Ok(None),
        }
    }

    /// The point of the segment that is closest to a line.
    ///
    /// # Errors
    /// 22003.
    pub fn closest_to_line(self, line: Line) -> SqlResult<(Point, f64)> {
        if let Some(found) = self.crossing_line(line)? {
            return Ok((found, 0.0));
        }
        let (first, second) = (line.closest(self.0)?.1, line.closest(self.1)?.1);
        Ok(if first < second { (self.0, first) } else { (self.1, second) })
    }

    /// # Errors
    /// 22003.
    pub fn closest(self, point: Point) -> SqlResult<(Point, f64)> {
        let perpendicular = line_through(point, inverse_slope(self.0, self.1)?)?;
        let (found, _) = self.closest_to_line(perpendicular)?;
        Ok((found, distance(found, point)?))
    }

    /// The point of this segment that is closest to another segment.
    ///
    /// # Errors
    /// 22003.
    pub fn closest_to(self, other: Self) -> SqlResult<(Point, f64)> {
        if let Some(found) = self.crossing(other)? {
            return Ok((found, 0.0));
        }
        let mut found = closer(self.closest(other.0)?, self.closest(other.1)?);
        for end in [self.0, self.1] {
            found = closer(found, (end, other.closest(end)?.1));
        }
        Ok(found)
    }
}

// Boxes.

impl Rect {
    /// The sides, in the order in which they are looked at.
    #[must_use]
    pub const fn sides(self) -> [Segment; 4] {
        let (upper_left, lower_right) = (Point::new(self.low.x, self.high.y), Point::new(self.high.x, self.low.y));
        [
            Segment(self.low, upper_left),
            Segment(self.high, upper_left),
            Segment(self.low, lower_right),
            Segment(self.high, lower_right),
        ]
    }

    /// # Errors
    /// 22003.
    pub fn center(self) -> SqlResult<Point> {
        middle(self.high, self.low)
    }

    /// # Errors
    /// 22003.
    pub fn width(self) -> SqlResult<f64> {
        minus(self.high.x, self.low.x)
    }

    /// # Errors
    /// 22003.
    pub fn height(self) -> SqlResult<f64> {
        minus(self.high.y, self.low.y)
    }

    /// # Errors
    /// 22003.
    pub fn area(self) -> SqlResult<f64> {
        times(self.width()?, self.height()?)
    }

    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        at_most(self.low.x, other.high.x)
            && at_most(other.low.x, self.high.x)
            && at_most(self.low.y, other.high.y)
            && at_most(other.low.y, self.high.y)
    }

    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        at_most(other.high.x, self.high.x)
            && at_most(self.low.x, other.low.x)
            && at_most(other.high.y, self.high.y)
            && at_most(self.low.y, other.low.y)
    }

    #[must_use]
    pub fn contains_point(self, point: Point) -> bool {
        self.high.x >= point.x && self.low.x <= point.x && self.high.y >= point.y && self.low.y <= point.y
    }

    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        self.overlaps(other).then(|| Self {
            high: Point::new(lesser(self.high.x, other.high.x), lesser(self.high.y, other.high.y)),
            low: Point::new(greater(self.low.x, other.low.x), greater(self.low.y, other.low.y)),
        })
    }

    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            high: Point::new(greater(self.high.x, other.high.x), greater(self.high.y, other.high.y)),
            low: Point::new(lesser(self.low.x, other.low.x), lesser(self.low.y, other.low.y)),
        }
    }

    /// # Errors
    /// 22003.
    pub fn crosses(self, segment: Segment) -> SqlResult<bool> {
        if !self.overlaps(Self::around(&[segment.0, segment.1])) {
            return Ok(false);
        }
        if self.contains_point(segment.0) || self.contains_point(segment.1) {
            return Ok(true);
        }
        for side in self.sides() {
            if side.crossing(segment)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// # Errors
    /// 22003.
    pub fn crosses_line(self, line: Line) -> SqlResult<bool> {
        for side in self.sides() {
            if side.crossing_line(line)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The point of the box that is closest.
    ///
    /// # Errors
    /// 22003.
    pub fn closest(self, point: Point) -> SqlResult<(Point, f64)> {
        if self.contains_point(point) {
            return Ok((point, 0.0));
        }
        let [first, rest @ ..] = self.sides();
        rest.into_iter().try_fold(first.closest(point)?, |found, side| Ok(closer(found, side.closest(point)?)))
    }

    /// # Errors
    /// 22003.
    pub fn closest_to(self, segment: Segment) -> SqlResult<(Point, f64)> {
        if self.crosses(segment)? {
            return Ok((segment.closest(self.center()?)?.0, 0.0));
        }
        let [first, rest @ ..] = self.sides();
        rest.into_iter().try_fold(first.closest_to(segment)?, |found, side| Ok(closer(found, side.closest_to(segment)?)))
    }
}
