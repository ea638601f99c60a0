//! Mathematical functions. Documentation, section 9.3.

use types::{Datum, Numeric, SqlError, SqlResult, SqlState, SqlType};

use crate::arguments::{float, int, numeric};
use crate::operators::arithmetic::{division_by_zero, power};
use crate::signature::{ArgType, Builtin, RetType};

const I2: ArgType = ArgType::T(SqlType::Int2);
const I4: ArgType = ArgType::T(SqlType::Int4);
const I8: ArgType = ArgType::T(SqlType::Int8);
const F4: ArgType = ArgType::T(SqlType::Float4);
const F8: ArgType = ArgType::T(SqlType::Float8);
const N: ArgType = ArgType::T(SqlType::NUMERIC);
const R_I2: RetType = RetType::T(SqlType::Int2);
const R_I4: RetType = RetType::T(SqlType::Int4);
const R_I8: RetType = RetType::T(SqlType::Int8);
const R_F4: RetType = RetType::T(SqlType::Float4);
const R_F8: RetType = RetType::T(SqlType::Float8);
const R_N: RetType = RetType::T(SqlType::NUMERIC);

fn out_of_range(what: &str) -> SqlError {
    SqlError::new(SqlState::NumericValueOutOfRange, format!("{what} out of range"))
}

fn input_out_of_range() -> SqlError {
    SqlError::new(SqlState::NumericValueOutOfRange, "input is out of range")
}

pub(crate) fn square_root(value: f64) -> SqlResult<Datum> {
    if value < 0.0 {
        let message = "cannot take square root of a negative number";
        return Err(SqlError::new(SqlState::InvalidArgumentForPowerFunction, message));
    }
    Ok(Datum::Float(value.sqrt()))
}

fn logarithm(value: f64, log: fn(f64) -> f64) -> SqlResult<Datum> {
    let refused = |what: &str| {
        Err(SqlError::new(SqlState::InvalidArgumentForLogarithm, format!("cannot take logarithm of {what}")))
    };
    if value == 0.0 {
        return refused("zero");
    }
    if value < 0.0 {
        return refused("a negative number");
    }
    Ok(Datum::Float(log(value)))
}

fn absolute(value: i64, least: i64, name: &str) -> SqlResult<Datum> {
    if value == least { Err(out_of_range(name)) } else { Ok(Datum::Int(value.abs())) }
}

fn remainder(a: &[Datum]) -> SqlResult<Datum> {
    let divisor = int(&a[1]);
    if divisor == 0 { Err(division_by_zero()) } else { Ok(Datum::Int(int(&a[0]).wrapping_rem(divisor))) }
}

fn greatest_common_divisor(a: i64, b: i64) -> u64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn gcd(a: &[Datum], most: i64, name: &str) -> SqlResult<Datum> {
    let divisor = greatest_common_divisor(int(&a[0]), int(&a[1]));
    i64::try_from(divisor).ok().filter(|d| *d <= most).map(Datum::Int).ok_or_else(|| out_of_range(name))
}

fn lcm(a: &[Datum], most: i64, name: &str) -> SqlResult<Datum> {
    let (x, y) = (int(&a[0]), int(&a[1]));
    if x == 0 || y == 0 {
        return Ok(Datum::Int(0));
    }
    let multiple = u128::from(x.unsigned_abs() / greatest_common_divisor(x, y)) * u128::from(y.unsigned_abs());
    i64::try_from(multiple).ok().filter(|m| *m <= most).map(Datum::Int).ok_or_else(|| out_of_range(name))
}

/// Arguments whose result PostgreSQL defines only inside `[-1, 1]`.
fn unit_interval(value: f64, f: fn(f64) -> f64) -> SqlResult<Datum> {
    if value.abs() > 1.0 { Err(input_out_of_range()) } else { Ok(Datum::Float(f(value))) }
}

fn finite_argument(value: f64, f: fn(f64) -> f64) -> SqlResult<Datum> {
    if value.is_infinite() { Err(input_out_of_range()) } else { Ok(Datum::Float(f(value))) }
}

fn exponential(value: f64) -> SqlResult<Datum> {
    let result = value.exp();
    if result.is_infinite() && value.is_finite() {
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "value out of range: overflow"));
    }
    if result == 0.0 && value.is_finite() {
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "value out of range: underflow"));
    }
    Ok(Datum::Float(result))
}

fn sign(value: f64) -> f64 {
    if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        0.0
    }
}

fn checked(value: f64, from: f64) -> SqlResult<Datum> {
    if value.is_infinite() && from.is_finite() {
        return Err(SqlError::new(SqlState::NumericValueOutOfRange, "value out of range: overflow"));
    }
    Ok(Datum::Float(value))
}

/// The textbook formula squares its argument, which large ones do not survive.
fn inverse_sinh(value: f64) -> f64 {
    if value.abs() > 1e150 { (value.abs().ln() + std::f64::consts::LN_2).copysign(value) } else { value.asinh() }
}

fn inverse_cosh(value: f64) -> f64 {
    if value > 1e150 { value.ln() + std::f64::consts::LN_2 } else { value.acosh() }
}

/// The bucket of `count` equal ones between two bounds; 0 and `count + 1` stand for outside.
fn float_bucket(value: f64, low: f64, high: f64, count: i64) -> SqlResult<Datum> {
    let refused = |message: &str| Err(SqlError::new(SqlState::InvalidArgumentForWidthBucket, message));
    if count <= 0 {
        return refused("count must be greater than zero");
    }
    if value.is_nan() || low.is_nan() || high.is_nan() {
        return refused("operand, lower bound, and upper bound cannot be NaN");
    }
    if low.is_infinite() || high.is_infinite() {
        return refused("lower and upper bounds must be finite");
    }
    if low == high {
        return refused("lower bound cannot equal upper bound");
    }
    let (below, above) = if low < high { (value < low, value >= high) } else { (value > low, value <= high) };
    if below {
        return Ok(Datum::Int(0));
    }
    if above {
        return bucket(count + 1);
    }
    let part = if (high - low).is_finite() {
        (value - low) / (high - low)
    } else {
        (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0)
    };
    // Rounding may carry the quotient up to 1.
    bucket(((count as f64 * part) as i64).min(count - 1) + 1)
}

fn bucket(number: i64) -> SqlResult<Datum> {
    i32::try_from(number).map(|n| Datum::Int(i64::from(n))).map_err(|_| out_of_range("integer"))
}

/// PostgreSQL divides by it where others multiply by its inverse: the last digit differs.
const RADIANS_PER_DEGREE: f64 = 0.017_453_292_519_943_295;

/// Sine and cosine of degrees are scaled so that 30, 60 and 90 come out exact: these two hold near zero, and the
/// quadrants are put together from them.
fn small_sine(degrees: f64) -> f64 {
    degrees.to_radians().sin() / 30_f64.to_radians().sin() / 2.0
}

fn small_cosine(degrees: f64) -> f64 {
    1.0 - (1.0 - degrees.to_radians().cos()) / (1.0 - 60_f64.to_radians().cos()) / 2.0
}

fn quadrant_sine(degrees: f64) -> f64 {
    if degrees <= 30.0 { small_sine(degrees) } else { small_cosine(90.0 - degrees) }
}

fn quadrant_cosine(degrees: f64) -> f64 {
    if degrees <= 60.0 { small_cosine(degrees) } else { small_sine(90.0 - degrees) }
}

/// An angle in the first quadrant, and whether sine and cosine are negative.
fn folded(degrees: f64) -> (f64, bool, bool) {
    let turned = degrees % 360.0;
    let (turned, below) = if turned < 0.0 { (-turned, true) } else { (turned, false) };
    let (turned, below) = if turned > 180.0 { (360.0 - turned, !below) } else { (turned, below) };
    if turned > 90.0 { (180.0 - turned, below, true) } else { (turned, below, false) }
}

fn sine_of_degrees(degrees: f64) -> f64 {
    let (angle, negative, _) = folded(degrees);
    if negative { -quadrant_sine(angle) } else { quadrant_sine(angle) }
}

fn cosine_of_degrees(degrees: f64) -> f64 {
    let (angle, _, negative) = folded(degrees);
    if negative { -quadrant_cosine(angle) } else { quadrant_cosine(angle) }
}

fn tangent_of_degrees(degrees: f64) -> f64 {
    let (angle, sine, cosine) = folded(degrees);
    let tangent = quadrant_sine(angle) / quadrant_cosine(angle) / (quadrant_sine(45.0) / quadrant_cosine(45.0));
    // Zero has no sign here.
    if sine != cosine && tangent != 0.0 { -tangent } else { tangent }
}

fn cotangent_of_degrees(degrees: f64) -> f64 {
    let (angle, sine, cosine) = folded(degrees);
    let cotangent = quadrant_cosine(angle) / quadrant_sine(angle) / (quadrant_cosine(45.0) / quadrant_sine(45.0));
    if sine != cosine && cotangent != 0.0 { -cotangent } else { cotangent }
}

fn arc_sine_in_degrees(value: f64) -> f64 {
    let size = value.abs();
    let degrees =
        if size <= 0.5 { size.asin() / 0.5_f64.asin() * 30.0 } else { 90.0 - size.acos() / 0.5_f64.acos() * 60.0 };
    if value < 0.0 { -degrees } else { degrees }
}

fn arc_cosine_in_degrees(value: f64) -> f64 {
    if value < 0.0 {
        return 90.0 + arc_sine_in_degrees(-value);
    }
    if value <= 0.5 { 90.0 - value.asin() / 0.5_f64.asin() * 30.0 } else { value.acos() / 0.5_f64.acos() * 60.0 }
}

/// 45 degrees are exactly the arc whose tangent is 1.
fn arc_in_degrees(radians: f64) -> f64 {
    radians / 1_f64.atan() * 45.0
}

fn places(datum: &Datum) -> i32 {
    int(datum) as i32
}

/// A float function of one argument that cannot fail.
macro_rules! float1 {
    ($name:literal, $oid:literal, $f:expr) => {
        Builtin::pure($name, $oid, &[F8], R_F8, |_, _, a| {
            let f: fn(f64) -> f64 = $f;
            Ok(Datum::Float(f(float(&a[0]))))
        })
    };
}

/// A numeric function of one argument.
macro_rules! numeric1 {
    ($name:literal, $oid:literal, $f:expr) => {
        Builtin::pure($name, $oid, &[N], R_N, |_, _, a| {
            let f: fn(&Numeric) -> SqlResult<Numeric> = $f;
            f(numeric(&a[0])).map(Datum::Numeric)
        })
    };
}

pub(super) static FUNCTIONS: &[Builtin] = &[
    Builtin::pure("abs", 1398, &[I2], R_I2, |_, _, a| absolute(int(&a[0]), i64::from(i16::MIN), "smallint")),
    Builtin::pure("abs", 1397, &[I4], R_I4, |_, _, a| absolute(int(&a[0]), i64::from(i32::MIN), "integer")),
    Builtin::pure("abs", 1396, &[I8], R_I8, |_, _, a| absolute(int(&a[0]), i64::MIN, "bigint")),
    Builtin::pure("abs", 1394, &[F4], R_F4, |_, _, a| Ok(Datum::Float(float(&a[0]).abs()))),
    float1!("abs", 1395, f64::abs),
    numeric1!("abs", 1705, |n| Ok(n.abs())),
    Builtin::pure("mod", 940, &[I2, I2], R_I2, |_, _, a| remainder(a)),
    Builtin::pure("mod", 941, &[I4, I4], R_I4, |_, _, a| remainder(a)),
    Builtin::pure("mod", 947, &[I8, I8], R_I8, |_, _, a| remainder(a)),
    Builtin::pure("mod", 1728, &[N, N], R_N, |_, _, a| numeric(&a[0]).rem(numeric(&a[1])).map(Datum::Numeric)),
    Builtin::pure("div", 1973, &[N, N], R_N, |_, _, a| numeric(&a[0]).div_trunc(numeric(&a[1])).map(Datum::Numeric)),
    Builtin::pure("gcd", 5044, &[I4, I4], R_I4, |_, _, a| gcd(a, i64::from(i32::MAX), "integer")),
    Builtin::pure("gcd", 5045, &[I8, I8], R_I8, |_, _, a| gcd(a, i64::MAX, "bigint")),
    Builtin::pure("gcd", 5048, &[N, N], R_N, |_, _, a| numeric(&a[0]).gcd(numeric(&a[1])).map(Datum::Numeric)),
    Builtin::pure("lcm", 5046, &[I4, I4], R_I4, |_, _, a| lcm(a, i64::from(i32::MAX), "integer")),
    Builtin::pure("lcm", 5047, &[I8, I8], R_I8, |_, _, a| lcm(a, i64::MAX, "bigint")),
    Builtin::pure("lcm", 5049, &[N, N], R_N, |_, _, a| numeric(&a[0]).lcm(numeric(&a[1])).map(Datum::Numeric)),
    float1!("ceil", 2308, f64::ceil),
    float1!("ceiling", 2320, f64::ceil),
    numeric1!("ceil", 1711, |n| Ok(n.ceil())),
    numeric1!("ceiling", 2167, |n| Ok(n.ceil())),
    float1!("floor", 2309, f64::floor),
    numeric1!("floor", 1712, |n| Ok(n.floor())),
    float1!("round", 1342, f64::round_ties_even),
    numeric1!("round", 1708, |n| Ok(n.round(0))),
    Builtin::pure("round", 1707, &[N, I4], R_N, |_, _, a| Ok(Datum::Numeric(numeric(&a[0]).round(places(&a[1]))))),
    float1!("trunc", 1343, f64::trunc),
    numeric1!("trunc", 1710, |n| Ok(n.trunc(0))),
    Builtin::pure("trunc", 1709, &[N, I4], R_N, |_, _, a| Ok(Datum::Numeric(numeric(&a[0]).trunc(places(&a[1]))))),
    float1!("sign", 2310, sign),
    numeric1!("sign", 1706, |n| Ok(n.sign())),
    Builtin::pure("sqrt", 1344, &[F8], R_F8, |_, _, a| square_root(float(&a[0]))),
    numeric1!("sqrt", 1730, Numeric::sqrt),
    float1!("cbrt", 1345, f64::cbrt),
    Builtin::pure("exp", 1347, &[F8], R_F8, |_, _, a| exponential(float(&a[0]))),
    numeric1!("exp", 1732, Numeric::exp),
    Builtin::pure("ln", 1341, &[F8], R_F8, |_, _, a| logarithm(float(&a[0]), f64::ln)),
    numeric1!("ln", 1734, Numeric::ln),
    Builtin::pure("log", 1340, &[F8], R_F8, |_, _, a| logarithm(float(&a[0]), f64::log10)),
    Builtin::pure("log10", 1194, &[F8], R_F8, |_, _, a| logarithm(float(&a[0]), f64::log10)),
    numeric1!("log", 1741, Numeric::log10),
    numeric1!("log10", 1481, Numeric::log10),
    Builtin::pure("log", 1736, &[N, N], R_N, |_, _, a| numeric(&a[1]).log(numeric(&a[0])).map(Datum::Numeric)),
    Builtin::pure("power", 1368, &[F8, F8], R_F8, |_, _, a| power(float(&a[0]), float(&a[1]))),
    Builtin::pure("pow", 1346, &[F8, F8], R_F8, |_, _, a| power(float(&a[0]), float(&a[1]))),
    Builtin::pure("power", 21_738, &[N, N], R_N, |_, _, a| numeric(&a[0]).power(numeric(&a[1])).map(Datum::Numeric)),
    Builtin::pure("pow", 21_739, &[N, N], R_N, |_, _, a| numeric(&a[0]).power(numeric(&a[1])).map(Datum::Numeric)),
    Builtin::pure("factorial", 1376, &[I8], R_N, |_, _, a| Numeric::factorial(int(&a[0])).map(Datum::Numeric)),
    Builtin::pure("scale", 3281, &[N], R_I4, |_, _, a| {
        let n = numeric(&a[0]);
        Ok(if n.is_finite() { Datum::Int(i64::from(n.scale())) } else { Datum::Null })
    }),
    Builtin::pure("min_scale", 5042, &[N], R_I4, |_, _, a| {
        let n = numeric(&a[0]);
        Ok(if n.is_finite() { Datum::Int(i64::from(n.min_scale())) } else { Datum::Null })
    }),
    numeric1!("trim_scale", 5043, |n| Ok(n.trim_scale())),
    Builtin::pure("width_bucket", 320, &[F8, F8, F8, I4], R_I4, |_, _, a| {
        float_bucket(float(&a[0]), float(&a[1]), float(&a[2]), int(&a[3]))
    }),
    Builtin::pure("width_bucket", 2170, &[N, N, N, I4], R_I4, |_, _, a| {
        numeric(&a[0]).width_bucket(numeric(&a[1]), numeric(&a[2]), int(&a[3])).and_then(bucket)
    }),
    Builtin::pure("sin", 1604, &[F8], R_F8, |_, _, a| finite_argument(float(&a[0]), f64::sin)),
    Builtin::pure("cos", 1605, &[F8], R_F8, |_, _, a| finite_argument(float(&a[0]), f64::cos)),
    Builtin::pure("tan", 1606, &[F8], R_F8, |_, _, a| finite_argument(float(&a[0]), f64::tan)),
    Builtin::pure("cot", 1607, &[F8], R_F8, |_, _, a| finite_argument(float(&a[0]), |x| 1.0 / x.tan())),
    Builtin::pure("asin", 1600, &[F8], R_F8, |_, _, a| unit_interval(float(&a[0]), f64::asin)),
    Builtin::pure("acos", 1601, &[F8], R_F8, |_, _, a| unit_interval(float(&a[0]), f64::acos)),
    float1!("atan", 1602, f64::atan),
    Builtin::pure("atan2", 1603, &[F8, F8], R_F8, |_, _, a| Ok(Datum::Float(float(&a[0]).atan2(float(&a[1]))))),
    float1!("sinh", 2462, f64::sinh),
    float1!("cosh", 2463, f64::cosh),
    float1!("tanh", 2464, f64::tanh),
    float1!("asinh", 2465, inverse_sinh),
    Builtin::pure("degrees", 1608, &[F8], R_F8, |_, _, a| checked(float(&a[0]) / RADIANS_PER_DEGREE, float(&a[0]))),
    Builtin::pure("acosh", 2466, &[F8], R_F8, |_, _, a| {
        if float(&a[0]) < 1.0 { Err(input_out_of_range()) } else { Ok(Datum::Float(inverse_cosh(float(&a[0])))) }
    }),
    Builtin::pure("atanh", 2467, &[F8], R_F8, |_, _, a| unit_interval(float(&a[0]), f64::atanh)),
    Builtin::pure("sind", 2731, &[F8], R_F8, |_, _, a| finite_argument(float(&a[0]), sine_of_degrees)),
    Builtin::pure("cosd", 2732, &[F8], R_F8, |_, _, a| finite_argument(float(&a[0]), cosine_of_degrees)),
    Builtin::pure("tand", 2733, &[F8], R_F8, |_, _, a| finite_argument(float(&a[0]), tangent_of_degrees)),
    Builtin::pure("cotd", 2738, &[F8], R_F8, |_, _, a| finite_argument(float(&a[0]), cotangent_of_degrees)),
    Builtin::pure("asind", 2734, &[F8], R_F8, |_, _, a| unit_interval(float(&a[0]), arc_sine_in_degrees)),
    Builtin::pure("acosd", 2735, &[F8], R_F8, |_, _, a| unit_interval(float(&a[0]), arc_cosine_in_degrees)),
    float1!("atand", 2736, |x| arc_in_degrees(x.atan())),
    Builtin::pure("atan2d", 2737, &[F8, F8], R_F8, |_, _, a| {
        Ok(Datum::Float(arc_in_degrees(float(&a[0]).atan2(float(&a[1])))))
    }),
    float1!("radians", 1609, f64::to_radians),
    Builtin::pure("pi", 1610, &[], R_F8, |_, _, _| Ok(Datum::Float(std::f64::consts::PI))),
    Builtin::pure("random", 1598, &[], R_F8, |context, _, _| {
        // 53 bits fill a float's mantissa: uniform in [0, 1).
        Ok(Datum::Float((context.host.random_bits() >> 11) as f64 / (1_u64 << 53) as f64))
    })
    .volatile(),
    Builtin::pure("setseed", 1599, &[F8], RetType::T(SqlType::Void), |_, _, _| {
        Err(SqlError::not_supported("setseed"))
    })
    .volatile(),
];
