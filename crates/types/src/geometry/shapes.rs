//! Paths, polygons and circles: lengths, areas, what lies in what. The order of floating-point operations is PostgreSQL's.

use super::{Circle, Path, Point, Rect, Segment};
use super::measure::{at_most, distance, hypotenuse, is_below, is_same, is_zero, less, minus, over, plus, times};
use crate::error::{SqlError, SqlResult, SqlState, raise};
use crate::stack::{VALUE_DEPTH_MAX, too_deep};

/// The segments between points; `closing` the one from the last to the first, before all others.
fn segments(points: &[Point], closing: bool) -> impl Iterator<Item = Segment> + Clone + '_ {
    let last = points.last().filter(|_| closing).map(|last| Segment(*last, points[0]));
    last.into_iter().chain(points.windows(2).map(|pair| Segment(pair[0], pair[1])))
}

/// The least of distances; none of none.
fn least(distances: impl Iterator<Item = SqlResult<f64>>) -> SqlResult<Option<f64>> {
    let mut found: Option<f64> = None;
    for distance in distances {
        let distance = distance?;
        if found.is_none_or(|found| is_below(distance, found)) {
            found = Some(distance);
        }
    }
    Ok(found)
}

impl Path {
    pub fn segments(&self) -> impl Iterator<Item = Segment> + Clone + '_ {
        segments(&self.points, self.is_closed)
    }

    /// # Errors
    /// 22003.
    pub fn length(&self) -> SqlResult<f64> {
        self.segments().try_fold(0.0, |sum, segment| plus(sum, segment.length()?))
    }

    /// None of an open one.
    ///
    /// # Errors
    /// 22003.
    pub fn area(&self) -> SqlResult<Option<f64>> {
        if !self.is_closed {
            return Ok(None);
        }
        let mut area = 0.0;
        for (at, point) in self.points.iter().enumerate() {
            let next = self.points[(at + 1) % self.points.len()];
            area = plus(area, times(point.x, next.y)?)?;
            area = minus(area, times(point.y, next.x)?)?;
        }
        Ok(Some(over(area.abs(), 2.0)?))
    }

    /// # Errors
    /// 22003.
    pub fn crosses(&self, other: &Self) -> SqlResult<bool> {
        if !Rect::around(&self.points).overlaps(Rect::around(&other.points)) {
            return Ok(false);
        }
        for one in self.segments() {
            for two in other.segments() {
                if one.crossing(two)?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// None when one of them has no segment.
    ///
    /// # Errors
    /// 22003.
    pub fn distance(&self, other: &Self) -> SqlResult<Option<f64>> {
        least(self.segments().flat_map(|one| other.segments().map(move |two| one.closest_to(two).map(|(_, distance)| distance))))
    }

    /// # Errors
    /// 22003.
    pub fn distance_to(&self, point: Point) -> SqlResult<f64> {
        Ok(least(self.segments().map(|segment| segment.closest(point).map(|(_, distance)| distance)))?.unwrap_or(0.0))
    }

    /// Whether a point is on an open path, or on or within a closed one.
    ///
    /// # Errors
    /// 22003.
    pub fn contains(&self, point: Point) -> SqlResult<bool> {
        if self.is_closed {
            return is_inside(point, &self.points);
        }
        for segment in self.segments() {
            if segment.contains(point)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// How the axis to the right of the origin is crossed, counted twice; none when the origin is on the edge.
fn axis_crossing(to: Point, from: Point) -> SqlResult<Option<i32>> {
    if is_zero(to.y) {
        if is_zero(to.x) {
            return Ok(None);
        }
        let (is_right, was_right) = (less(0.0, to.x), less(0.0, from.x));
        return Ok(match (is_right, is_zero(from.y)) {
            (true, true) => was_right.then_some(0),
            (true, false) => Some(if less(from.y, 0.0) { 1 } else { -1 }),
            (false, true) => less(from.x, 0.0).then_some(0),
            (false, false) => Some(0),
        });
    }
    let sign = if less(0.0, to.y) { 1 } else { -1 };
    if is_zero(from.y) {
        return Ok(Some(if less(from.x, 0.0) { 0 } else { sign }));
    }
    if (sign < 0 && less(from.y, 0.0)) || (sign > 0 && less(0.0, from.y)) {
        return Ok(Some(0));
    }
    if at_most(0.0, to.x) && less(0.0, from.x) {
        return Ok(Some(2 * sign));
    }
    if less(to.x, 0.0) && at_most(from.x, 0.0) {
        return Ok(Some(0));
    }
    let side = minus(times(minus(to.x, from.x)?, to.y)?, times(minus(to.y, from.y)?, to.x)?)?;
    if is_zero(side) {
        return Ok(None);
    }
    let is_left = (sign < 0 && less(side, 0.0)) || (sign > 0 && less(0.0, side));
    Ok(Some(if is_left { 0 } else { 2 * sign }))
}

/// Whether a point is within a polygon or on its edge.
///
/// # Errors
/// 22003.
pub fn is_inside(point: Point, polygon: &[Point]) -> SqlResult<bool> {
    let mut crossings = 0;
    let Some(first) = polygon.first() else { return Ok(false) };
    let first = first.sub(point)?;
    let mut before = first;
    for corner in &polygon[1..] {
        let corner = corner.sub(point)?;
        match axis_crossing(corner, before)? {
            None => return Ok(true),
            Some(count) => crossings += count,
        }
        before = corner;
    }
    Ok(axis_crossing(first, before)?.is_none_or(|count| crossings + count != 0))
}

/// The same corners in the same order, from whichever and in either direction.
#[must_use]
pub fn is_same_polygon(a: &[Point], b: &[Point]) -> bool {
    let count = a.len();
    count == b.len()
        && (0..count).any(|start| {
            let matches = |place: &dyn Fn(usize) -> usize| (0..count).all(|at| is_same(b[place(at)], a[at]));
            matches(&|at| (start + at) % count) || matches(&|at| (start + count - at) % count)
        })
}

/// # Errors
/// 22003.
pub fn polygons_overlap(a: &[Point], b: &[Point]) -> SqlResult<bool> {
    if !Rect::around(a).overlaps(Rect::around(b)) {
        return Ok(false);
    }
    for one in segments(a, true) {
        for two in segments(b, true) {
            if one.crossing(two)?.is_some() {
                return Ok(true);
            }
        }
    }
    match (a.first(), b.first()) {
        (Some(first), Some(second)) => Ok(is_inside(*first, b)? || is_inside(*second, a)?),
        _ => Ok(false),
    }
}

/// # Errors
/// 22003, 54001.
pub fn polygon_contains(outer: &[Point], inner: &[Point]) -> SqlResult<bool> {
    if outer.is_empty() || !Rect::around(outer).contains(Rect::around(inner)) {
        return Ok(false);
    }
    for side in segments(inner, true) {
        if !is_segment_inside(side, outer, 0, VALUE_DEPTH_MAX)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a segment is within a polygon, as far as the polygon's sides from `start` on tell. Where it crosses a side, its
/// parts are looked at.
fn is_segment_inside(segment: Segment, polygon: &[Point], start: usize, depth: usize) -> SqlResult<bool> {
    let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
    let mut before = polygon[(start + polygon.len() - 1) % polygon.len()];
    let mut is_crossed = false;
    for (at, corner) in polygon.iter().enumerate().skip(start) {
        let side = Segment(before, *corner);
        before = *corner;
        let inside = match (side.contains(segment.0)?, side.contains(segment.1)?) {
            (true, true) => return Ok(true),
            (true, false) => is_touching_inside(segment, side, polygon, at + 1, depth)?,
            (false, true) => is_touching_inside(Segment(segment.1, segment.0), side, polygon, at + 1, depth)?,
            (false, false) => match segment.crossing(side)? {
                None => continue,
                Some(crossing) => {
                    is_crossed = true;
                    is_segment_inside(Segment(segment.0, crossing), polygon, at + 1, depth)?
                        && is_segment_inside(Segment(segment.1, crossing), polygon, at + 1, depth)?
                }
            },
        };
        if !inside {
            return Ok(false);
        }
    }
    if is_crossed {
        return Ok(true);
    }
    is_inside(segment.center()?, polygon)
}

/// Of a segment whose first end alone is on a side of the polygon.
fn is_touching_inside(segment: Segment, side: Segment, polygon: &[Point], start: usize, depth: usize) -> SqlResult<bool> {
    let ends = if is_same(segment.0, side.0) {
        [Some(side.1), None]
    } else if is_same(segment.0, side.1) {
        [Some(side.0), None]
    } else {
        [Some(side.0), Some(side.1)]
    };
    for end in ends.into_iter().flatten() {
        if segment.contains(end)? {
            return is_segment_inside(Segment(segment.1, end), polygon, start, depth);
        }
    }
    // Other sides tell.
    Ok(true)
}

/// # Errors
/// 22003.
pub fn polygon_distance(a: &[Point], b: &[Point]) -> SqlResult<f64> {
    if polygons_overlap(a, b)? {
        return Ok(0.0);
    }
    let pairs = segments(a, true).flat_map(|one| segments(b, true).map(move |two| one.closest_to(two).map(|(_, distance)| distance)));
    Ok(least(pairs)?.unwrap_or(0.0))
}

/// # Errors
/// 22003.
pub fn distance_to_polygon(point: Point, polygon: &[Point]) -> SqlResult<f64> {
    if is_inside(point, polygon)? {
        return Ok(0.0);
    }
    Ok(least(segments(polygon, true).map(|side| side.closest(point).map(|(_, distance)| distance)))?.unwrap_or(0.0))
}

/// About the mean of the corners, with their mean distance from it.
///
/// # Errors
/// 22003.
pub fn circle_of_polygon(polygon: &[Point]) -> SqlResult<Circle> {
    let count = polygon.len() as f64;
    let sum = polygon.iter().try_fold(Point::default(), |sum, point| sum.add(*point))?;
    let center = Point::new(over(sum.x, count)?, over(sum.y, count)?);
    let radius = polygon.iter().try_fold(0.0, |sum, point| plus(sum, distance(*point, center)?))?;
    Ok(Circle { center, radius: over(radius, count)? })
}

impl Circle {
    /// # Errors
    /// 22003.
    pub fn area(self) -> SqlResult<f64> {
        times(times(self.radius, self.radius)?, std::f64::consts::PI)
    }

    /// # Errors
    /// 22003.
    pub fn diameter(self) -> SqlResult<f64> {
        times(self.radius, 2.0)
    }

    /// What of a distance from the center is outside.
    ///
    /// # Errors
    /// 22003.
    pub fn beyond(self, distance: f64) -> SqlResult<f64> {
        let outside = minus(distance, self.radius)?;
        Ok(if outside < 0.0 { 0.0 } else { outside })
    }

    /// # Errors
    /// 22003.
    pub fn contains_point(self, point: Point) -> SqlResult<bool> {
        Ok(distance(self.center, point)? <= self.radius)
    }

    /// The left, lower, right and upper end.
    ///
    /// # Errors
    /// 22003.
    pub fn extent(self) -> SqlResult<Rect> {
        let Point { x, y } = self.center;
        Ok(Rect {
            high: Point::new(plus(x, self.radius)?, plus(y, self.radius)?),
            low: Point::new(minus(x, self.radius)?, minus(y, self.radius)?),
        })
    }

    /// # Errors
    /// 22003.
    pub fn inner_box(self) -> SqlResult<Rect> {
        let half = over(self.radius, std::f64::consts::SQRT_2)?;
        let Point { x, y } = self.center;
        Ok(Rect {
            high: Point::new(plus(x, half)?, plus(y, half)?),
            low: Point::new(minus(x, half)?, minus(y, half)?),
        })
    }

    /// Through the corners of a box.
    ///
    /// # Errors
    /// 22003.
    pub fn around(rect: Rect) -> SqlResult<Self> {
        let center = rect.center()?;
        Ok(Self { center, radius: distance(center, rect.high)? })
    }

    /// So many points on it, from the left end on.
    ///
    /// # Errors
    /// 0A000 for a circle without extent, 22023 for too few points.
    pub fn polygon(self, count: i64) -> SqlResult<Box<[Point]>> {
        if is_zero(self.radius) {
            return Err(SqlError::not_supported("cannot convert circle with radius zero to polygon"));
        }
        if count < 2 {
            return Err(raise::invalid_parameter("must request at least 2 points"));
        }
        if count > 1 << 26 {
            return Err(SqlError::new(SqlState::ProgramLimitExceeded, "too many points requested"));
        }
        let step = over(2.0 * std::f64::consts::PI, count as f64)?;
        let corner = |at: i64| -> SqlResult<Point> {
            let angle = times(step, at as f64)?;
            Ok(Point::new(
                minus(self.center.x, times(self.radius, angle.cos())?)?,
                plus(self.center.y, times(self.radius, angle.sin())?)?,
            ))
        };
        (0..count).map(corner).collect()
    }

    /// # Errors
    /// 22003.
    pub fn scaled(self, by: Point, f: fn(Point, Point) -> SqlResult<Point>, is_division: bool) -> SqlResult<Self> {
        let size = hypotenuse(by.x, by.y)?;
        let radius = if is_division { over(self.radius, size)? } else { times(self.radius, size)? };
        Ok(Self { center: f(self.center, by)?, radius })
    }
}
