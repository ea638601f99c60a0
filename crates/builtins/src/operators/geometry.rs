//! Operators of the geometric types. Documentation, section 9.11.

use std::cmp::Ordering;

use types::geometry::measure::{at_most, distance, equal, is_same, less};
use types::geometry::shapes::{
    distance_to_polygon, is_inside, is_same_polygon, polygon_contains, polygon_distance, polygons_overlap,
};
use types::geometry::{Circle, Line, Path, Point, Rect, Segment};
use types::{Datum, Geometry, SqlResult, SqlType};

use super::comparison::Eval;
use crate::arguments::geometry;
use crate::signature::{ArgType, Builtin, Operator, RetType};

pub(crate) const POINT: ArgType = ArgType::T(SqlType::Point);
pub(crate) const LINE: ArgType = ArgType::T(SqlType::Line);
pub(crate) const LSEG: ArgType = ArgType::T(SqlType::LSeg);
pub(crate) const BOX: ArgType = ArgType::T(SqlType::Box);
pub(crate) const PATH: ArgType = ArgType::T(SqlType::Path);
pub(crate) const POLYGON: ArgType = ArgType::T(SqlType::Polygon);
pub(crate) const CIRCLE: ArgType = ArgType::T(SqlType::Circle);
const BOOL: RetType = RetType::T(SqlType::Bool);
const FLOAT: RetType = RetType::T(SqlType::Float8);
const INT: RetType = RetType::T(SqlType::Int4);
const R_POINT: RetType = RetType::T(SqlType::Point);
const R_BOX: RetType = RetType::T(SqlType::Box);
const R_PATH: RetType = RetType::T(SqlType::Path);
const R_CIRCLE: RetType = RetType::T(SqlType::Circle);

macro_rules! readers {
    ($($name:ident, $variant:ident, $ty:ty;)*) => {$(
        #[track_caller]
        pub(crate) fn $name(datum: &Datum) -> &$ty {
            match geometry(datum) {
                Geometry::$variant(value) => value,
                other => panic!("datum-matches-type: {}, found {other:?}", stringify!($name)),
            }
        }
    )*};
}

readers! {
    point, Point, Point;
    line, Line, Line;
    segment, Segment, Segment;
    rect, Rect, Rect;
    path, Path, Path;
    polygon, Polygon, Box<[Point]>;
    circle, Circle, Circle;
}

pub(crate) fn point_datum(value: Point) -> Datum {
    Datum::geometry(Geometry::Point(value))
}

fn bounds(datum: &Datum) -> Rect {
    Rect::around(polygon(datum))
}

fn yes(value: bool) -> SqlResult<Datum> {
    Ok(Datum::Bool(value))
}

fn asked(value: SqlResult<bool>) -> SqlResult<Datum> {
    value.map(Datum::Bool)
}

fn measured(value: SqlResult<f64>) -> SqlResult<Datum> {
    value.map(Datum::Float)
}

/// The point of a pair with its distance; none where rounding found none.
fn found((point, distance): (Point, f64)) -> Datum {
    if distance.is_nan() { Datum::Null } else { point_datum(point) }
}

fn maybe_point(value: Option<Point>) -> Datum {
    value.map_or(Datum::Null, point_datum)
}

/// Equal within the tolerance, or the lesser one first.
fn order(a: f64, b: f64) -> Option<Ordering> {
    if equal(a, b) {
        Some(Ordering::Equal)
    } else if less(a, b) {
        Some(Ordering::Less)
    } else if less(b, a) {
        Some(Ordering::Greater)
    } else {
        None
    }
}

fn by_area(a: &Datum, b: &Datum) -> SqlResult<Option<Ordering>> {
    let area = |datum: &Datum| match geometry(datum) {
        Geometry::Rect(rect) => rect.area(),
        _ => circle(datum).area(),
    };
    Ok(order(area(a)?, area(b)?))
}

fn by_length(a: &Datum, b: &Datum) -> SqlResult<Option<Ordering>> {
    Ok(order(segment(a).length()?, segment(b).length()?))
}

fn by_count(a: &Datum, b: &Datum) -> Ordering {
    path(a).points.len().cmp(&path(b).points.len())
}

fn same_box(a: &Rect, b: &Rect) -> bool {
    is_same(a.high, b.high) && is_same(a.low, b.low)
}

/// Which sides of two extents are compared, and how: the places of boxes have a tolerance, those of polygons none.
#[derive(Clone, Copy)]
enum Place {
    Left,
    OverLeft,
    Right,
    OverRight,
    Below,
    OverBelow,
    Above,
    OverAbove,
}

fn is_placed(a: Rect, b: Rect, place: Place, before: fn(f64, f64) -> bool, not_behind: fn(f64, f64) -> bool) -> bool {
    match place {
        Place::Left => before(a.high.x, b.low.x),
        Place::OverLeft => not_behind(a.high.x, b.high.x),
        Place::Right => before(b.high.x, a.low.x),
        Place::OverRight => not_behind(b.low.x, a.low.x),
        Place::Below => before(a.high.y, b.low.y),
        Place::OverBelow => not_behind(a.high.y, b.high.y),
        Place::Above => before(b.high.y, a.low.y),
        Place::OverAbove => not_behind(b.low.y, a.low.y),
    }
}

fn boxes(a: &[Datum], place: Place) -> SqlResult<Datum> {
    yes(is_placed(*rect(&a[0]), *rect(&a[1]), place, less, at_most))
}

fn polygons(a: &[Datum], place: Place) -> SqlResult<Datum> {
    yes(is_placed(bounds(&a[0]), bounds(&a[1]), place, |x, y| x < y, |x, y| x <= y))
}

fn circles(a: &[Datum], place: Place) -> SqlResult<Datum> {
    yes(is_placed(circle(&a[0]).extent()?, circle(&a[1]).extent()?, place, less, at_most))
}

type Move = fn(Point, Point) -> SqlResult<Point>;

fn moved_box(a: &[Datum], f: Move, is_turn: bool) -> SqlResult<Datum> {
    let (value, by) = (rect(&a[0]), *point(&a[1]));
    let (high, low) = (f(value.high, by)?, f(value.low, by)?);
    Ok(Datum::geometry(Geometry::Rect(if is_turn { Rect::new(high, low) } else { Rect { high, low } })))
}

fn moved_path(a: &[Datum], f: Move) -> SqlResult<Datum> {
    let (value, by) = (path(&a[0]), *point(&a[1]));
    let points = value.points.iter().map(|point| f(*point, by)).collect::<SqlResult<_>>()?;
    Ok(Datum::geometry(Geometry::Path(Path { is_closed: value.is_closed, points })))
}

fn moved_circle(a: &[Datum], f: Move) -> SqlResult<Datum> {
    let value = circle(&a[0]);
    Ok(Datum::geometry(Geometry::Circle(Circle { center: f(value.center, *point(&a[1]))?, radius: value.radius })))
}

fn scaled_circle(a: &[Datum], f: Move, is_division: bool) -> SqlResult<Datum> {
    Ok(Datum::geometry(Geometry::Circle(circle(&a[0]).scaled(*point(&a[1]), f, is_division)?)))
}

fn joined_paths(a: &[Datum]) -> SqlResult<Datum> {
    let (first, second) = (path(&a[0]), path(&a[1]));
    if first.is_closed || second.is_closed {
        return Ok(Datum::Null);
    }
    let points = first.points.iter().chain(&second.points).copied().collect();
    Ok(Datum::geometry(Geometry::Path(Path { is_closed: false, points })))
}

fn is_segment_on_line(segment: &Segment, line: &Line) -> SqlResult<bool> {
    Ok(line.contains(segment.0)? && line.contains(segment.1)?)
}

fn is_same_circle(a: &Circle, b: &Circle) -> bool {
    ((a.radius.is_nan() && b.radius.is_nan()) || equal(a.radius, b.radius)) && is_same(a.center, b.center)
}

fn center_distance(a: &Circle, b: &Circle) -> SqlResult<f64> {
    distance(a.center, b.center)
}

/// Whether the first circle is in the second.
fn is_circle_within(inner: &Circle, outer: &Circle) -> SqlResult<bool> {
    Ok(at_most(center_distance(inner, outer)?, outer.radius - inner.radius))
}

fn circle_to_polygon(circle: &Circle, polygon: &[Point]) -> SqlResult<f64> {
    circle.beyond(distance_to_polygon(circle.center, polygon)?)
}

pub(crate) fn is_line_parallel(a: &Line, b: &Line) -> SqlResult<bool> {
    Ok(a.crossing(*b)?.is_none())
}

const fn op(symbol: &'static str, oid: u32, name: &'static str, function: u32, args: &'static [ArgType], ret: RetType, eval: Eval) -> Operator {
    Operator::new(symbol, oid, Builtin::pure(name, function, args, ret, eval))
}

#[rustfmt::skip]
pub(super) static OPERATORS: &[Operator] = &[
    // Points.
    op("+", 731, "point_add", 1441, &[POINT, POINT], R_POINT, |_, _, a| point(&a[0]).add(*point(&a[1])).map(point_datum)).commutes_with("+"),
    op("-", 732, "point_sub", 1442, &[POINT, POINT], R_POINT, |_, _, a| point(&a[0]).sub(*point(&a[1])).map(point_datum)),
    op("*", 733, "point_mul", 1443, &[POINT, POINT], R_POINT, |_, _, a| point(&a[0]).mul(*point(&a[1])).map(point_datum)).commutes_with("*"),
    op("/", 734, "point_div", 1444, &[POINT, POINT], R_POINT, |_, _, a| point(&a[0]).div(*point(&a[1])).map(point_datum)),
    op("~=", 510, "point_eq", 135, &[POINT, POINT], BOOL, |_, _, a| yes(is_same(*point(&a[0]), *point(&a[1])))).commutes_with("~=").negated_by("<>"),
    op("<>", 713, "point_ne", 988, &[POINT, POINT], BOOL, |_, _, a| yes(!is_same(*point(&a[0]), *point(&a[1])))).commutes_with("<>").negated_by("~="),
    op("<<", 507, "point_left", 132, &[POINT, POINT], BOOL, |_, _, a| yes(less(point(&a[0]).x, point(&a[1]).x))),
    op(">>", 508, "point_right", 133, &[POINT, POINT], BOOL, |_, _, a| yes(less(point(&a[1]).x, point(&a[0]).x))),
    op("<<|", 4162, "point_below", 134, &[POINT, POINT], BOOL, |_, _, a| yes(less(point(&a[0]).y, point(&a[1]).y))),
    op("|>>", 4161, "point_above", 131, &[POINT, POINT], BOOL, |_, _, a| yes(less(point(&a[1]).y, point(&a[0]).y))),
    op("<^", 509, "point_below", 40_509, &[POINT, POINT], BOOL, |_, _, a| yes(less(point(&a[0]).y, point(&a[1]).y))),
    op(">^", 506, "point_above", 40_506, &[POINT, POINT], BOOL, |_, _, a| yes(less(point(&a[1]).y, point(&a[0]).y))),
    op("?|", 809, "point_vert", 989, &[POINT, POINT], BOOL, |_, _, a| yes(equal(point(&a[0]).x, point(&a[1]).x))).commutes_with("?|"),
    op("?-", 808, "point_horiz", 990, &[POINT, POINT], BOOL, |_, _, a| yes(equal(point(&a[0]).y, point(&a[1]).y))).commutes_with("?-"),
    op("<->", 517, "point_distance", 991, &[POINT, POINT], FLOAT, |_, _, a| measured(distance(*point(&a[0]), *point(&a[1])))).commutes_with("<->"),

    // Where points are.
    op("<@", 511, "on_pb", 136, &[POINT, BOX], BOOL, |_, _, a| yes(rect(&a[1]).contains_point(*point(&a[0])))).commutes_with("@>"),
    op("@>", 433, "box_contain_pt", 193, &[BOX, POINT], BOOL, |_, _, a| yes(rect(&a[0]).contains_point(*point(&a[1])))).commutes_with("<@"),
    op("<@", 512, "on_ppath", 137, &[POINT, PATH], BOOL, |_, _, a| asked(path(&a[1]).contains(*point(&a[0])))).commutes_with("@>"),
    op("@>", 755, "path_contain_pt", 1426, &[PATH, POINT], BOOL, |_, _, a| asked(path(&a[0]).contains(*point(&a[1])))).commutes_with("<@"),
    op("<@", 756, "pt_contained_poly", 1429, &[POINT, POLYGON], BOOL, |_, _, a| asked(is_inside(*point(&a[0]), polygon(&a[1])))).commutes_with("@>"),
    op("@>", 757, "poly_contain_pt", 1428, &[POLYGON, POINT], BOOL, |_, _, a| asked(is_inside(*point(&a[1]), polygon(&a[0])))).commutes_with("<@"),
    op("<@", 758, "pt_contained_circle", 1478, &[POINT, CIRCLE], BOOL, |_, _, a| asked(circle(&a[1]).contains_point(*point(&a[0])))).commutes_with("@>"),
    op("@>", 759, "circle_contain_pt", 1477, &[CIRCLE, POINT], BOOL, |_, _, a| asked(circle(&a[0]).contains_point(*point(&a[1])))).commutes_with("<@"),
    op("<@", 1546, "on_pl", 959, &[POINT, LINE], BOOL, |_, _, a| asked(line(&a[1]).contains(*point(&a[0])))),
    op("<@", 1547, "on_ps", 369, &[POINT, LSEG], BOOL, |_, _, a| asked(segment(&a[1]).contains(*point(&a[0])))),
    op("<@", 1548, "on_sl", 960, &[LSEG, LINE], BOOL, |_, _, a| asked(is_segment_on_line(segment(&a[0]), line(&a[1])))),
    op("<@", 1549, "on_sb", 372, &[LSEG, BOX], BOOL, |_, _, a| {
        let (inner, outer) = (segment(&a[0]), rect(&a[1]));
        yes(outer.contains_point(inner.0) && outer.contains_point(inner.1))
    }),

    // Segments and lines.
    op("=", 1535, "lseg_eq", 999, &[LSEG, LSEG], BOOL, |_, _, a| yes(is_same(segment(&a[0]).0, segment(&a[1]).0) && is_same(segment(&a[0]).1, segment(&a[1]).1))).commutes_with("=").negated_by("<>"),
    op("<>", 1586, "lseg_ne", 1482, &[LSEG, LSEG], BOOL, |_, _, a| yes(!(is_same(segment(&a[0]).0, segment(&a[1]).0) && is_same(segment(&a[0]).1, segment(&a[1]).1)))).commutes_with("<>").negated_by("="),
    op("<", 1587, "lseg_lt", 1483, &[LSEG, LSEG], BOOL, |_, _, a| yes(by_length(&a[0], &a[1])?.is_some_and(Ordering::is_lt))).commutes_with(">").negated_by(">="),
    op("<=", 1588, "lseg_le", 1484, &[LSEG, LSEG], BOOL, |_, _, a| yes(by_length(&a[0], &a[1])?.is_some_and(Ordering::is_le))).commutes_with(">=").negated_by(">"),
    op(">", 1589, "lseg_gt", 1485, &[LSEG, LSEG], BOOL, |_, _, a| yes(by_length(&a[0], &a[1])?.is_some_and(Ordering::is_gt))).commutes_with("<").negated_by("<="),
    op(">=", 1590, "lseg_ge", 1486, &[LSEG, LSEG], BOOL, |_, _, a| yes(by_length(&a[0], &a[1])?.is_some_and(Ordering::is_ge))).commutes_with("<=").negated_by("<"),
    op("@-@", 1591, "lseg_length", 1487, &[LSEG], FLOAT, |_, _, a| measured(segment(&a[0]).length())),
    op("@@", 969, "lseg_center", 225, &[LSEG], R_POINT, |_, _, a| segment(&a[0]).center().map(point_datum)),
    op("#", 1536, "lseg_interpt", 362, &[LSEG, LSEG], R_POINT, |_, _, a| segment(&a[0]).crossing(*segment(&a[1])).map(maybe_point)).commutes_with("#"),
    op("?#", 1525, "lseg_intersect", 994, &[LSEG, LSEG], BOOL, |_, _, a| yes(segment(&a[0]).crossing(*segment(&a[1]))?.is_some())).commutes_with("?#"),
    op("?#", 1537, "inter_sl", 277, &[LSEG, LINE], BOOL, |_, _, a| yes(segment(&a[0]).crossing_line(*line(&a[1]))?.is_some())),
    op("?#", 1538, "inter_sb", 373, &[LSEG, BOX], BOOL, |_, _, a| asked(rect(&a[1]).crosses(*segment(&a[0])))),
    op("?#", 1539, "inter_lb", 278, &[LINE, BOX], BOOL, |_, _, a| asked(rect(&a[1]).crosses_line(*line(&a[0])))),
    op("?#", 1611, "line_intersect", 1495, &[LINE, LINE], BOOL, |_, _, a| yes(!is_line_parallel(line(&a[0]), line(&a[1]))?)).commutes_with("?#"),
    op("?||", 1526, "lseg_parallel", 995, &[LSEG, LSEG], BOOL, |_, _, a| asked(segment(&a[0]).is_parallel(*segment(&a[1])))).commutes_with("?||"),
    op("?-|", 1527, "lseg_perp", 996, &[LSEG, LSEG], BOOL, |_, _, a| asked(segment(&a[0]).is_perpendicular(*segment(&a[1])))).commutes_with("?-|"),
    op("?|", 1529, "lseg_vertical", 997, &[LSEG], BOOL, |_, _, a| yes(segment(&a[0]).is_vertical())),
    op("?-", 1528, "lseg_horizontal", 998, &[LSEG], BOOL, |_, _, a| yes(segment(&a[0]).is_horizontal())),
    op("=", 1616, "line_eq", 1492, &[LINE, LINE], BOOL, |_, _, a| asked(line(&a[0]).is_same(*line(&a[1])))).commutes_with("="),
    op("#", 1617, "line_interpt", 1494, &[LINE, LINE], R_POINT, |_, _, a| line(&a[0]).crossing(*line(&a[1])).map(maybe_point)).commutes_with("#"),
    op("?||", 1612, "line_parallel", 1496, &[LINE, LINE], BOOL, |_, _, a| asked(is_line_parallel(line(&a[0]), line(&a[1])))).commutes_with("?||"),
    op("?-|", 1613, "line_perp", 1497, &[LINE, LINE], BOOL, |_, _, a| asked(line(&a[0]).is_perpendicular(*line(&a[1])))).commutes_with("?-|"),
    op("?|", 1615, "line_vertical", 1498, &[LINE], BOOL, |_, _, a| yes(line(&a[0]).is_vertical())),
    op("?-", 1614, "line_horizontal", 1499, &[LINE], BOOL, |_, _, a| yes(line(&a[0]).is_horizontal())),

    // Closest points.
    op("##", 1557, "close_pl", 961, &[POINT, LINE], R_POINT, |_, _, a| line(&a[1]).closest(*point(&a[0])).map(found)),
    op("##", 1558, "close_ps", 366, &[POINT, LSEG], R_POINT, |_, _, a| segment(&a[1]).closest(*point(&a[0])).map(found)),
    op("##", 1559, "close_pb", 367, &[POINT, BOX], R_POINT, |_, _, a| rect(&a[1]).closest(*point(&a[0])).map(found)),
    op("##", 1577, "close_ls", 1488, &[LINE, LSEG], R_POINT, |_, _, a| {
        let (from, to) = (*line(&a[0]), segment(&a[1]));
        if to.slope()? == from.slope()? { Ok(Datum::Null) } else { to.closest_to_line(from).map(found) }
    }),
    op("##", 1578, "close_lseg", 1489, &[LSEG, LSEG], R_POINT, |_, _, a| {
        let (from, to) = (*segment(&a[0]), segment(&a[1]));
        if from.slope()? == to.slope()? { Ok(Datum::Null) } else { to.closest_to(from).map(found) }
    }),
    op("##", 1567, "close_sb", 368, &[LSEG, BOX], R_POINT, |_, _, a| rect(&a[1]).closest_to(*segment(&a[0])).map(found)),

    // Distances.
    op("<->", 708, "line_distance", 239, &[LINE, LINE], FLOAT, |_, _, a| measured(line(&a[0]).distance(*line(&a[1])))).commutes_with("<->"),
    op("<->", 709, "lseg_distance", 361, &[LSEG, LSEG], FLOAT, |_, _, a| Ok(Datum::Float(segment(&a[0]).closest_to(*segment(&a[1]))?.1))).commutes_with("<->"),
    op("<->", 613, "dist_pl", 725, &[POINT, LINE], FLOAT, |_, _, a| Ok(Datum::Float(line(&a[1]).closest(*point(&a[0]))?.1))).commutes_with("<->"),
    op("<->", 760, "dist_lp", 702, &[LINE, POINT], FLOAT, |_, _, a| Ok(Datum::Float(line(&a[0]).closest(*point(&a[1]))?.1))).commutes_with("<->"),
    op("<->", 614, "dist_ps", 363, &[POINT, LSEG], FLOAT, |_, _, a| Ok(Datum::Float(segment(&a[1]).closest(*point(&a[0]))?.1))).commutes_with("<->"),
    op("<->", 761, "dist_sp", 380, &[LSEG, POINT], FLOAT, |_, _, a| Ok(Datum::Float(segment(&a[0]).closest(*point(&a[1]))?.1))).commutes_with("<->"),
    op("<->", 615, "dist_pb", 364, &[POINT, BOX], FLOAT, |_, _, a| Ok(Datum::Float(rect(&a[1]).closest(*point(&a[0]))?.1))).commutes_with("<->"),
    op("<->", 606, "dist_bp", 357, &[BOX, POINT], FLOAT, |_, _, a| Ok(Datum::Float(rect(&a[0]).closest(*point(&a[1]))?.1))).commutes_with("<->"),
    op("<->", 616, "dist_sl", 727, &[LSEG, LINE], FLOAT, |_, _, a| Ok(Datum::Float(segment(&a[0]).closest_to_line(*line(&a[1]))?.1))).commutes_with("<->"),
    op("<->", 762, "dist_ls", 704, &[LINE, LSEG], FLOAT, |_, _, a| Ok(Datum::Float(segment(&a[1]).closest_to_line(*line(&a[0]))?.1))).commutes_with("<->"),
    op("<->", 617, "dist_sb", 365, &[LSEG, BOX], FLOAT, |_, _, a| Ok(Datum::Float(rect(&a[1]).closest_to(*segment(&a[0]))?.1))).commutes_with("<->"),
    op("<->", 763, "dist_bs", 381, &[BOX, LSEG], FLOAT, |_, _, a| Ok(Datum::Float(rect(&a[0]).closest_to(*segment(&a[1]))?.1))).commutes_with("<->"),
    op("<->", 707, "path_distance", 370, &[PATH, PATH], FLOAT, |_, _, a| Ok(path(&a[0]).distance(path(&a[1]))?.map_or(Datum::Null, Datum::Float))).commutes_with("<->"),
    op("<->", 618, "dist_ppath", 371, &[POINT, PATH], FLOAT, |_, _, a| measured(path(&a[1]).distance_to(*point(&a[0])))).commutes_with("<->"),
    op("<->", 784, "dist_pathp", 421, &[PATH, POINT], FLOAT, |_, _, a| measured(path(&a[0]).distance_to(*point(&a[1])))).commutes_with("<->"),
    op("<->", 706, "box_distance", 978, &[BOX, BOX], FLOAT, |_, _, a| measured(distance(rect(&a[0]).center()?, rect(&a[1]).center()?))).commutes_with("<->"),
    op("<->", 712, "poly_distance", 729, &[POLYGON, POLYGON], FLOAT, |_, _, a| measured(polygon_distance(polygon(&a[0]), polygon(&a[1])))).commutes_with("<->"),
    op("<->", 3276, "dist_ppoly", 3275, &[POINT, POLYGON], FLOAT, |_, _, a| measured(distance_to_polygon(*point(&a[0]), polygon(&a[1])))).commutes_with("<->"),
    op("<->", 3289, "dist_polyp", 3292, &[POLYGON, POINT], FLOAT, |_, _, a| measured(distance_to_polygon(*point(&a[1]), polygon(&a[0])))).commutes_with("<->"),
    op("<->", 1520, "circle_distance", 1471, &[CIRCLE, CIRCLE], FLOAT, |_, _, a| {
        let (one, two) = (circle(&a[0]), circle(&a[1]));
        let apart = center_distance(one, two)? - (one.radius + two.radius);
        Ok(Datum::Float(if apart < 0.0 { 0.0 } else { apart }))
    })
    .commutes_with("<->"),
    op("<->", 1522, "dist_pc", 1476, &[POINT, CIRCLE], FLOAT, |_, _, a| measured(circle(&a[1]).beyond(distance(*point(&a[0]), circle(&a[1]).center)?))).commutes_with("<->"),
    op("<->", 3291, "dist_cpoint", 3290, &[CIRCLE, POINT], FLOAT, |_, _, a| measured(circle(&a[0]).beyond(distance(*point(&a[1]), circle(&a[0]).center)?))).commutes_with("<->"),
    op("<->", 1523, "dist_cpoly", 728, &[CIRCLE, POLYGON], FLOAT, |_, _, a| measured(circle_to_polygon(circle(&a[0]), polygon(&a[1])))).commutes_with("<->"),
    op("<->", 1383, "dist_polyc", 785, &[POLYGON, CIRCLE], FLOAT, |_, _, a| measured(circle_to_polygon(circle(&a[1]), polygon(&a[0])))).commutes_with("<->"),

    // Boxes.
    op("~=", 499, "box_same", 186, &[BOX, BOX], BOOL, |_, _, a| yes(same_box(rect(&a[0]), rect(&a[1])))).commutes_with("~="),
    op("=", 503, "box_eq", 128, &[BOX, BOX], BOOL, |_, _, a| yes(by_area(&a[0], &a[1])?.is_some_and(Ordering::is_eq))).commutes_with("="),
    op("<", 504, "box_lt", 129, &[BOX, BOX], BOOL, |_, _, a| yes(by_area(&a[0], &a[1])?.is_some_and(Ordering::is_lt))).commutes_with(">").negated_by(">="),
    op(">", 502, "box_gt", 127, &[BOX, BOX], BOOL, |_, _, a| yes(by_area(&a[0], &a[1])?.is_some_and(Ordering::is_gt))).commutes_with("<").negated_by("<="),
    op("<=", 505, "box_le", 130, &[BOX, BOX], BOOL, |_, _, a| yes(by_area(&a[0], &a[1])?.is_some_and(Ordering::is_le))).commutes_with(">=").negated_by(">"),
    op(">=", 501, "box_ge", 126, &[BOX, BOX], BOOL, |_, _, a| yes(by_area(&a[0], &a[1])?.is_some_and(Ordering::is_ge))).commutes_with("<=").negated_by("<"),
    op("&&", 500, "box_overlap", 125, &[BOX, BOX], BOOL, |_, _, a| yes(rect(&a[0]).overlaps(*rect(&a[1])))).commutes_with("&&"),
    op("?#", 802, "box_overlap", 40_802, &[BOX, BOX], BOOL, |_, _, a| yes(rect(&a[0]).overlaps(*rect(&a[1])))),
    op("@>", 498, "box_contain", 187, &[BOX, BOX], BOOL, |_, _, a| yes(rect(&a[0]).contains(*rect(&a[1])))).commutes_with("<@"),
    op("<@", 497, "box_contained", 192, &[BOX, BOX], BOOL, |_, _, a| yes(rect(&a[1]).contains(*rect(&a[0])))).commutes_with("@>"),
    op("<<", 493, "box_left", 188, &[BOX, BOX], BOOL, |_, _, a| boxes(a, Place::Left)),
    op("&<", 494, "box_overleft", 189, &[BOX, BOX], BOOL, |_, _, a| boxes(a, Place::OverLeft)),
    op("&>", 495, "box_overright", 190, &[BOX, BOX], BOOL, |_, _, a| boxes(a, Place::OverRight)),
    op(">>", 496, "box_right", 191, &[BOX, BOX], BOOL, |_, _, a| boxes(a, Place::Right)),
    op("<<|", 2570, "box_below", 2562, &[BOX, BOX], BOOL, |_, _, a| boxes(a, Place::Below)),
    op("&<|", 2571, "box_overbelow", 2563, &[BOX, BOX], BOOL, |_, _, a| boxes(a, Place::OverBelow)),
    op("|&>", 2572, "box_overabove", 2564, &[BOX, BOX], BOOL, |_, _, a| boxes(a, Place::OverAbove)),
    op("|>>", 2573, "box_above", 2565, &[BOX, BOX], BOOL, |_, _, a| boxes(a, Place::Above)),
    op("<^", 801, "box_below_eq", 116, &[BOX, BOX], BOOL, |_, _, a| yes(at_most(rect(&a[0]).high.y, rect(&a[1]).low.y))),
    op(">^", 800, "box_above_eq", 115, &[BOX, BOX], BOOL, |_, _, a| yes(at_most(rect(&a[1]).high.y, rect(&a[0]).low.y))),
    op("@@", 513, "box_center", 138, &[BOX], R_POINT, |_, _, a| rect(&a[0]).center().map(point_datum)),
    op("#", 803, "box_intersect", 980, &[BOX, BOX], R_BOX, |_, _, a| {
        Ok(rect(&a[0]).intersection(*rect(&a[1])).map_or(Datum::Null, |found| Datum::geometry(Geometry::Rect(found))))
    }),
    op("+", 804, "box_add", 1422, &[BOX, POINT], R_BOX, |_, _, a| moved_box(a, Point::add, false)),
    op("-", 805, "box_sub", 1423, &[BOX, POINT], R_BOX, |_, _, a| moved_box(a, Point::sub, false)),
    op("*", 806, "box_mul", 1424, &[BOX, POINT], R_BOX, |_, _, a| moved_box(a, Point::mul, true)),
    op("/", 807, "box_div", 1425, &[BOX, POINT], R_BOX, |_, _, a| moved_box(a, Point::div, true)),

    // Paths.
    op("=", 792, "path_n_eq", 984, &[PATH, PATH], BOOL, |_, _, a| yes(by_count(&a[0], &a[1]).is_eq())).commutes_with("="),
    op("<", 793, "path_n_lt", 982, &[PATH, PATH], BOOL, |_, _, a| yes(by_count(&a[0], &a[1]).is_lt())).commutes_with(">"),
    op(">", 794, "path_n_gt", 983, &[PATH, PATH], BOOL, |_, _, a| yes(by_count(&a[0], &a[1]).is_gt())).commutes_with("<"),
    op("<=", 795, "path_n_le", 985, &[PATH, PATH], BOOL, |_, _, a| yes(by_count(&a[0], &a[1]).is_le())).commutes_with(">="),
    op(">=", 796, "path_n_ge", 986, &[PATH, PATH], BOOL, |_, _, a| yes(by_count(&a[0], &a[1]).is_ge())).commutes_with("<="),
    op("#", 797, "path_npoints", 1432, &[PATH], INT, |_, _, a| Ok(Datum::Int(path(&a[0]).points.len() as i64))),
    op("@-@", 799, "path_length", 987, &[PATH], FLOAT, |_, _, a| measured(path(&a[0]).length())),
    op("?#", 798, "path_inter", 973, &[PATH, PATH], BOOL, |_, _, a| asked(path(&a[0]).crosses(path(&a[1])))),
    op("+", 735, "path_add", 1435, &[PATH, PATH], R_PATH, |_, _, a| joined_paths(a)).commutes_with("+"),
    op("+", 736, "path_add_pt", 1436, &[PATH, POINT], R_PATH, |_, _, a| moved_path(a, Point::add)),
    op("-", 737, "path_sub_pt", 1437, &[PATH, POINT], R_PATH, |_, _, a| moved_path(a, Point::sub)),
    op("*", 738, "path_mul_pt", 1438, &[PATH, POINT], R_PATH, |_, _, a| moved_path(a, Point::mul)),
    op("/", 739, "path_div_pt", 1439, &[PATH, POINT], R_PATH, |_, _, a| moved_path(a, Point::div)),

    // Polygons.
    op("~=", 491, "poly_same", 339, &[POLYGON, POLYGON], BOOL, |_, _, a| yes(is_same_polygon(polygon(&a[0]), polygon(&a[1])))).commutes_with("~="),
    op("@>", 490, "poly_contain", 340, &[POLYGON, POLYGON], BOOL, |_, _, a| asked(polygon_contains(polygon(&a[0]), polygon(&a[1])))).commutes_with("<@"),
    op("<@", 489, "poly_contained", 345, &[POLYGON, POLYGON], BOOL, |_, _, a| asked(polygon_contains(polygon(&a[1]), polygon(&a[0])))).commutes_with("@>"),
    op("&&", 492, "poly_overlap", 346, &[POLYGON, POLYGON], BOOL, |_, _, a| asked(polygons_overlap(polygon(&a[0]), polygon(&a[1])))).commutes_with("&&"),
    op("<<", 485, "poly_left", 341, &[POLYGON, POLYGON], BOOL, |_, _, a| polygons(a, Place::Left)),
    op("&<", 486, "poly_overleft", 342, &[POLYGON, POLYGON], BOOL, |_, _, a| polygons(a, Place::OverLeft)),
    op("&>", 487, "poly_overright", 343, &[POLYGON, POLYGON], BOOL, |_, _, a| polygons(a, Place::OverRight)),
    op(">>", 488, "poly_right", 344, &[POLYGON, POLYGON], BOOL, |_, _, a| polygons(a, Place::Right)),
    op("<<|", 2574, "poly_below", 2566, &[POLYGON, POLYGON], BOOL, |_, _, a| polygons(a, Place::Below)),
    op("&<|", 2575, "poly_overbelow", 2567, &[POLYGON, POLYGON], BOOL, |_, _, a| polygons(a, Place::OverBelow)),
    op("|&>", 2576, "poly_overabove", 2568, &[POLYGON, POLYGON], BOOL, |_, _, a| polygons(a, Place::OverAbove)),
    op("|>>", 2577, "poly_above", 2569, &[POLYGON, POLYGON], BOOL, |_, _, a| polygons(a, Place::Above)),
    op("#", 1521, "poly_npoints", 1445, &[POLYGON], INT, |_, _, a| Ok(Datum::Int(polygon(&a[0]).len() as i64))),
    op("@@", 971, "poly_center", 227, &[POLYGON], R_POINT, |_, _, a| Ok(Datum::geometry(geometry(&a[0]).cast(&SqlType::Point)?))),

    // Circles.
    op("~=", 1512, "circle_same", 1452, &[CIRCLE, CIRCLE], BOOL, |_, _, a| yes(is_same_circle(circle(&a[0]), circle(&a[1])))).commutes_with("~="),
    op("=", 1500, "circle_eq", 1462, &[CIRCLE, CIRCLE], BOOL, |_, _, a| yes(by_area(&a[0], &a[1])?.is_some_and(Ordering::is_eq))).commutes_with("=").negated_by("<>"),
    op("<>", 1501, "circle_ne", 1463, &[CIRCLE, CIRCLE], BOOL, |_, _, a| yes(by_area(&a[0], &a[1])?.is_some_and(Ordering::is_ne))).commutes_with("<>").negated_by("="),
    op("<", 1502, "circle_lt", 1464, &[CIRCLE, CIRCLE], BOOL, |_, _, a| yes(by_area(&a[0], &a[1])?.is_some_and(Ordering::is_lt))).commutes_with(">").negated_by(">="),
    op(">", 1503, "circle_gt", 1465, &[CIRCLE, CIRCLE], BOOL, |_, _, a| yes(by_area(&a[0], &a[1])?.is_some_and(Ordering::is_gt))).commutes_with("<").negated_by("<="),
    op("<=", 1504, "circle_le", 1466, &[CIRCLE, CIRCLE], BOOL, |_, _, a| yes(by_area(&a[0], &a[1])?.is_some_and(Ordering::is_le))).commutes_with(">=").negated_by(">"),
    op(">=", 1505, "circle_ge", 1467, &[CIRCLE, CIRCLE], BOOL, |_, _, a| yes(by_area(&a[0], &a[1])?.is_some_and(Ordering::is_ge))).commutes_with("<=").negated_by("<"),
    op("@>", 1511, "circle_contain", 1453, &[CIRCLE, CIRCLE], BOOL, |_, _, a| asked(is_circle_within(circle(&a[1]), circle(&a[0])))).commutes_with("<@"),
    op("<@", 1510, "circle_contained", 1458, &[CIRCLE, CIRCLE], BOOL, |_, _, a| asked(is_circle_within(circle(&a[0]), circle(&a[1])))).commutes_with("@>"),
    op("&&", 1513, "circle_overlap", 1459, &[CIRCLE, CIRCLE], BOOL, |_, _, a| yes(at_most(center_distance(circle(&a[0]), circle(&a[1]))?, circle(&a[0]).radius + circle(&a[1]).radius))).commutes_with("&&"),
    op("<<", 1506, "circle_left", 1454, &[CIRCLE, CIRCLE], BOOL, |_, _, a| circles(a, Place::Left)),
    op("&<", 1507, "circle_overleft", 1455, &[CIRCLE, CIRCLE], BOOL, |_, _, a| circles(a, Place::OverLeft)),
    op("&>", 1508, "circle_overright", 1456, &[CIRCLE, CIRCLE], BOOL, |_, _, a| circles(a, Place::OverRight)),
    op(">>", 1509, "circle_right", 1457, &[CIRCLE, CIRCLE], BOOL, |_, _, a| circles(a, Place::Right)),
    op("<<|", 1515, "circle_below", 1460, &[CIRCLE, CIRCLE], BOOL, |_, _, a| circles(a, Place::Below)),
    op("&<|", 2589, "circle_overbelow", 2587, &[CIRCLE, CIRCLE], BOOL, |_, _, a| circles(a, Place::OverBelow)),
    op("|&>", 2590, "circle_overabove", 2588, &[CIRCLE, CIRCLE], BOOL, |_, _, a| circles(a, Place::OverAbove)),
    op("|>>", 1514, "circle_above", 1461, &[CIRCLE, CIRCLE], BOOL, |_, _, a| circles(a, Place::Above)),
    op("@@", 1420, "circle_center", 1472, &[CIRCLE], R_POINT, |_, _, a| Ok(point_datum(circle(&a[0]).center))),
    op("+", 1516, "circle_add_pt", 1146, &[CIRCLE, POINT], R_CIRCLE, |_, _, a| moved_circle(a, Point::add)),
    op("-", 1517, "circle_sub_pt", 1147, &[CIRCLE, POINT], R_CIRCLE, |_, _, a| moved_circle(a, Point::sub)),
    op("*", 1518, "circle_mul_pt", 1148, &[CIRCLE, POINT], R_CIRCLE, |_, _, a| scaled_circle(a, Point::mul, false)),
    op("/", 1519, "circle_div_pt", 1149, &[CIRCLE, POINT], R_CIRCLE, |_, _, a| scaled_circle(a, Point::div, true)),
];
