//! Functions of the geometric types. Documentation, section 9.11.

use types::geometry::measure::{equal, is_same, line_through, slope};
use types::geometry::{Circle, Path, Point, Rect, Segment};
use types::{Datum, Geometry, SqlError, SqlResult, SqlState, SqlType};

use crate::EvalContext;
use crate::arguments::{float, geometry, int};
use crate::operators::geometry::{
    BOX, CIRCLE, LINE, LSEG, PATH, POINT, POLYGON, circle, is_line_parallel, line, path, point, point_datum, polygon, rect,
    segment,
};
use crate::signature::{ArgType, Builtin, CallTypes, RetType};

const F8: ArgType = ArgType::T(SqlType::Float8);
const I4: ArgType = ArgType::T(SqlType::Int4);
const R_F8: RetType = RetType::T(SqlType::Float8);
const R_I4: RetType = RetType::T(SqlType::Int4);
const BOOL: RetType = RetType::T(SqlType::Bool);
const R_POINT: RetType = RetType::T(SqlType::Point);
const R_LSEG: RetType = RetType::T(SqlType::LSeg);
const R_BOX: RetType = RetType::T(SqlType::Box);
const R_PATH: RetType = RetType::T(SqlType::Path);
const R_POLYGON: RetType = RetType::T(SqlType::Polygon);
const R_CIRCLE: RetType = RetType::T(SqlType::Circle);

/// The cast to the type that the function is named for.
fn convert(_: &EvalContext<'_>, types: &CallTypes, a: &[Datum]) -> SqlResult<Datum> {
    geometry(&a[0]).cast(&types.ret).map(Datum::geometry)
}

fn yes(value: bool) -> SqlResult<Datum> {
    Ok(Datum::Bool(value))
}

fn measured(value: SqlResult<f64>) -> SqlResult<Datum> {
    value.map(Datum::Float)
}

fn with_closing(datum: &Datum, is_closed: bool) -> SqlResult<Datum> {
    Ok(Datum::geometry(Geometry::Path(Path { is_closed, points: path(datum).points.clone() })))
}

fn line_between(a: Point, b: Point) -> SqlResult<Datum> {
    if is_same(a, b) {
        let message = "invalid line specification: must be two distinct points";
        return Err(SqlError::new(SqlState::InvalidParameterValue, message));
    }
    Ok(Datum::geometry(Geometry::Line(line_through(a, slope(a, b)?)?)))
}

#[rustfmt::skip]
pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("area", 1468, &[CIRCLE], R_F8, |_, _, a| measured(circle(&a[0]).area())),
    Builtin::pure("area", 975, &[BOX], R_F8, |_, _, a| measured(rect(&a[0]).area())),
    Builtin::pure("area", 979, &[PATH], R_F8, |_, _, a| Ok(path(&a[0]).area()?.map_or(Datum::Null, Datum::Float))),
    Builtin::pure("bound_box", 4067, &[BOX, BOX], R_BOX, |_, _, a| {
        Ok(Datum::geometry(Geometry::Rect(rect(&a[0]).union(*rect(&a[1])))))
    }),
    Builtin::pure("box", 1421, &[POINT, POINT], R_BOX, |_, _, a| {
        Ok(Datum::geometry(Geometry::Rect(Rect::new(*point(&a[0]), *point(&a[1])))))
    }),
    Builtin::pure("box", 1446, &[POLYGON], R_BOX, convert),
    Builtin::pure("box", 1480, &[CIRCLE], R_BOX, convert),
    Builtin::pure("box", 4091, &[POINT], R_BOX, convert),
    Builtin::pure("center", 1542, &[BOX], R_POINT, convert),
    Builtin::pure("center", 1543, &[CIRCLE], R_POINT, convert),
    Builtin::pure("circle", 1473, &[POINT, F8], R_CIRCLE, |_, _, a| {
        Ok(Datum::geometry(Geometry::Circle(Circle { center: *point(&a[0]), radius: float(&a[1]) })))
    }),
    Builtin::pure("circle", 1474, &[POLYGON], R_CIRCLE, convert),
    Builtin::pure("circle", 1479, &[BOX], R_CIRCLE, convert),
    Builtin::pure("diagonal", 981, &[BOX], R_LSEG, convert),
    Builtin::pure("diameter", 1469, &[CIRCLE], R_F8, |_, _, a| measured(circle(&a[0]).diameter())),
    Builtin::pure("height", 977, &[BOX], R_F8, |_, _, a| measured(rect(&a[0]).height())),
    Builtin::pure("width", 976, &[BOX], R_F8, |_, _, a| measured(rect(&a[0]).width())),
    Builtin::pure("radius", 1470, &[CIRCLE], R_F8, |_, _, a| Ok(Datum::Float(circle(&a[0]).radius))),
    Builtin::pure("isclosed", 1430, &[PATH], BOOL, |_, _, a| yes(path(&a[0]).is_closed)),
    Builtin::pure("isopen", 1431, &[PATH], BOOL, |_, _, a| yes(!path(&a[0]).is_closed)),
    Builtin::pure("pclose", 1433, &[PATH], R_PATH, |_, _, a| with_closing(&a[0], true)),
    Builtin::pure("popen", 1434, &[PATH], R_PATH, |_, _, a| with_closing(&a[0], false)),
    Builtin::pure("ishorizontal", 1407, &[POINT, POINT], BOOL, |_, _, a| yes(equal(point(&a[0]).y, point(&a[1]).y))),
    Builtin::pure("ishorizontal", 1411, &[LSEG], BOOL, |_, _, a| yes(segment(&a[0]).is_horizontal())),
    Builtin::pure("ishorizontal", 1415, &[LINE], BOOL, |_, _, a| yes(line(&a[0]).is_horizontal())),
    Builtin::pure("isvertical", 1406, &[POINT, POINT], BOOL, |_, _, a| yes(equal(point(&a[0]).x, point(&a[1]).x))),
    Builtin::pure("isvertical", 1410, &[LSEG], BOOL, |_, _, a| yes(segment(&a[0]).is_vertical())),
    Builtin::pure("isvertical", 1414, &[LINE], BOOL, |_, _, a| yes(line(&a[0]).is_vertical())),
    Builtin::pure("isparallel", 1408, &[LSEG, LSEG], BOOL, |_, _, a| segment(&a[0]).is_parallel(*segment(&a[1])).map(Datum::Bool)),
    Builtin::pure("isparallel", 1412, &[LINE, LINE], BOOL, |_, _, a| is_line_parallel(line(&a[0]), line(&a[1])).map(Datum::Bool)),
    Builtin::pure("isperp", 1409, &[LSEG, LSEG], BOOL, |_, _, a| segment(&a[0]).is_perpendicular(*segment(&a[1])).map(Datum::Bool)),
    Builtin::pure("isperp", 1413, &[LINE, LINE], BOOL, |_, _, a| line(&a[0]).is_perpendicular(*line(&a[1])).map(Datum::Bool)),
    Builtin::pure("length", 1530, &[LSEG], R_F8, |_, _, a| measured(segment(&a[0]).length())),
    Builtin::pure("length", 1531, &[PATH], R_F8, |_, _, a| measured(path(&a[0]).length())),
    Builtin::pure("line", 1493, &[POINT, POINT], RetType::T(SqlType::Line), |_, _, a| line_between(*point(&a[0]), *point(&a[1]))),
    Builtin::pure("lseg", 1541, &[BOX], R_LSEG, convert),
    Builtin::pure("lseg", 993, &[POINT, POINT], R_LSEG, |_, _, a| {
        Ok(Datum::geometry(Geometry::Segment(Segment(*point(&a[0]), *point(&a[1])))))
    }),
    Builtin::pure("npoints", 1545, &[PATH], R_I4, |_, _, a| Ok(Datum::Int(path(&a[0]).points.len() as i64))),
    Builtin::pure("npoints", 1556, &[POLYGON], R_I4, |_, _, a| Ok(Datum::Int(polygon(&a[0]).len() as i64))),
    Builtin::pure("path", 1447, &[POLYGON], R_PATH, convert),
    Builtin::pure("point", 1416, &[CIRCLE], R_POINT, convert),
    Builtin::pure("point", 1440, &[F8, F8], R_POINT, |_, _, a| Ok(point_datum(Point::new(float(&a[0]), float(&a[1]))))),
    Builtin::pure("point", 1532, &[LSEG], R_POINT, convert),
    Builtin::pure("point", 1534, &[BOX], R_POINT, convert),
    Builtin::pure("point", 1540, &[POLYGON], R_POINT, convert),
    Builtin::pure("polygon", 1448, &[BOX], R_POLYGON, convert),
    Builtin::pure("polygon", 1449, &[PATH], R_POLYGON, convert),
    Builtin::pure("polygon", 1475, &[I4, CIRCLE], R_POLYGON, |_, _, a| {
        circle(&a[1]).polygon(int(&a[0])).map(|points| Datum::geometry(Geometry::Polygon(points)))
    }),
    Builtin::pure("polygon", 1544, &[CIRCLE], R_POLYGON, convert),
    Builtin::pure("slope", 992, &[POINT, POINT], R_F8, |_, _, a| measured(slope(*point(&a[0]), *point(&a[1])))),
];
