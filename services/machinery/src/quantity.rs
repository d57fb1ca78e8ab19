//! `resource.Quantity`: numbers such as `100m`, `1.5Gi`, `12e6`.
//!
//! A quantity is a fixed-point number counted in 10⁻⁹ (the finest that Kubernetes keeps; finer parts round away from
//! zero when parsed) plus the notation it was written in, which canonical text preserves. One `i128` holds every value
//! up to 1.7·10²⁹, far above the largest suffix (`Ei`, about 10¹⁸); what is larger is refused as unparsable, where upstream
//! goes on with big integers. Rejected: a big-decimal crate, for values that no cluster has.
//! Source: `k8s.io/apimachinery/pkg/api/resource`.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Neg, Sub};
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;

/// How a quantity is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `12e6`.
    DecimalExponent,
    /// `12Mi`.
    BinarySi,
    /// `12M`.
    DecimalSi,
}

/// A number with a notation. Ordering and equality look at the number alone.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Why a text is no quantity; the texts are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text does not have the form of a quantity.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number has no digits or is too large.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// The suffix is none that Kubernetes knows.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// A quantity's text, taken apart.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point, without leading zeros; `0` if there are none.
    whole: &'a str,
    /// Digits after the point.
    fraction: &'a str,
    suffix: &'a str,
}

/// What a suffix multiplies by.
enum Factor {
    Ten(i32, Format),
    Two(u32),
}

fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    if text.is_empty() {
        return Err(QuantityError::Format);
    }
    let (negative, rest) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let rest = rest.trim_start_matches('0');
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let (mut whole, mut rest) = rest.split_at(digits(rest));
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        (fraction, rest) = after.split_at(digits(after));
    }
    if whole.is_empty() {
        whole = "0";
    }
    let letters = rest.bytes().take_while(|b| b"eEinumkKMGTP".contains(b)).count();
    let after = &rest[letters..];
    let after = after.strip_prefix(['-', '+']).unwrap_or(after);
    if digits(after) != after.len() {
        return Err(QuantityError::Format);
    }
    Ok(Parts {
        negative,
        whole,
        fraction,
        suffix: rest,
    })
}

fn factor(suffix: &str) -> Option<Factor> {
    use Format::{DecimalExponent, DecimalSi};
    Some(match suffix {
        "n" => Factor::Ten(-9, DecimalSi),
        "u" => Factor::Ten(-6, DecimalSi),
        "m" => Factor::Ten(-3, DecimalSi),
        "" => Factor::Ten(0, DecimalSi),
        "k" => Factor::Ten(3, DecimalSi),
        "M" => Factor::Ten(6, DecimalSi),
        "G" => Factor::Ten(9, DecimalSi),
        "T" => Factor::Ten(12, DecimalSi),
        "P" => Factor::Ten(15, DecimalSi),
        "E" => Factor::Ten(18, DecimalSi),
        "Ki" => Factor::Two(10),
        "Mi" => Factor::Two(20),
        "Gi" => Factor::Two(30),
        "Ti" => Factor::Two(40),
        "Pi" => Factor::Two(50),
        "Ei" => Factor::Two(60),
        _ => Factor::Ten(suffix.strip_prefix(['e', 'E'])?.parse().ok()?, DecimalExponent),
    })
}

/// `digits · 10^shift`, rounded up where digits are lost; `None` if it does not fit.
fn scaled(digits: &str, shift: i32) -> Option<i128> {
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    if shift >= 0 {
        let ten = 10i128.checked_pow(shift.unsigned_abs())?;
        return digits.parse::<i128>().ok()?.checked_mul(ten);
    }
    let cut = usize::try_from(shift.unsigned_abs()).ok()?;
    if cut >= digits.len() {
        return Some(1);
    }
    let (kept, lost) = digits.split_at(digits.len() - cut);
    let kept = kept.parse::<i128>().ok()?;
    Some(kept + i128::from(lost.bytes().any(|b| b != b'0')))
}

impl Quantity {
    /// Zero in `format`.
    pub fn zero(format: Format) -> Self {
        Self { nanos: 0, format }
    }
    /// A whole number.
    pub fn new(value: i64, format: Format) -> Self {
        Self {
            nanos: i128::from(value) * NANO,
            format,
        }
    }
    /// A number of thousandths.
    pub fn from_millis(value: i64, format: Format) -> Self {
        Self {
            nanos: i128::from(value) * (NANO / 1000),
            format,
        }
    }

    /// Reads a quantity.
    ///
    /// # Errors
    /// See [`QuantityError`].
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let parts = split(text)?;
        let digits: Cow<'_, str> = if parts.fraction.is_empty() {
            Cow::Borrowed(parts.whole)
        } else {
            Cow::Owned(format!("{}{}", parts.whole, parts.fraction))
        };
        let behind = i32::try_from(parts.fraction.len()).map_err(|_| QuantityError::Numeric)?;
        let (mut nanos, format) = match factor(parts.suffix).ok_or(QuantityError::Suffix)? {
            Factor::Ten(exponent, format) => {
                let shift = exponent.checked_sub(behind).and_then(|s| s.checked_add(9));
                (
                    shift
                        .and_then(|s| scaled(&digits, s))
                        .ok_or(QuantityError::Numeric)?,
                    format,
                )
            }
            Factor::Two(bits) => {
                // The fraction is multiplied before it is cut to nanos, else 0.1Gi would lose digits.
                let cap = i128::from(i64::MAX) * NANO;
                let exact = digits
                    .parse::<i128>()
                    .ok()
                    .and_then(|d| d.checked_mul(1i128 << bits));
                let nanos = match exact {
                    Some(n) if behind <= 9 => n
                        .checked_mul(10i128.pow(9 - behind.unsigned_abs()))
                        .unwrap_or(cap),
                    Some(n) => match 10i128.checked_pow(behind.unsigned_abs() - 9) {
                        Some(by) => n / by + i128::from(n % by != 0),
                        None => return Err(QuantityError::Numeric),
                    },
                    None if parts.fraction.is_empty() => cap,
                    None => return Err(QuantityError::Numeric),
                }
                .min(cap);
                let small = nanos > 0 && nanos < NANO;
                (
                    nanos,
                    if small {
                        Format::DecimalSi
                    } else {
                        Format::BinarySi
                    },
                )
            }
        };
        if parts.negative {
            nanos = -nanos;
        }
        Ok(Self { nanos, format })
    }

    /// The notation.
    pub fn format(self) -> Format {
        self.format
    }
    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }
    /// -1, 0 or 1.
    pub fn sign(self) -> i32 {
        self.nanos.signum() as i32
    }
    /// The number, rounded away from zero to a whole one, and held within 64 bits.
    pub fn value(self) -> i64 {
        self.rounded(NANO)
    }
    /// Thousandths, rounded away from zero, and held within 64 bits.
    pub fn millis(self) -> i64 {
        self.rounded(NANO / 1000)
    }
    fn rounded(self, unit: i128) -> i64 {
        let whole = self.nanos / unit
            + if self.nanos % unit == 0 {
                0
            } else {
                self.nanos.signum()
            };
        i64::try_from(whole).unwrap_or(if whole < 0 { i64::MIN } else { i64::MAX })
    }
    /// Whether it is a whole number.
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }
    /// The nearest double.
    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANO as f64
    }
    /// `self · n`, held within what fits.
    pub fn times(self, n: i64) -> Self {
        Self {
            nanos: self.nanos.saturating_mul(n.into()),
            format: self.format,
        }
    }
}

/// The text that upstream stores for `text`: mostly canonical, but what is written with a power of a thousand and has no
/// trailing thousands is kept as it stands (`1E3`, `+5`), as upstream does.
///
/// # Errors
/// See [`QuantityError`].
pub fn canonical(text: &str) -> Result<Cow<'_, str>, QuantityError> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    let quantity = Quantity::parse(text)?;
    if text == "0" {
        return Ok(Cow::Borrowed(text));
    }
    let parts = split(text)?;
    let digits = parts.whole.len() + parts.fraction.len();
    let kept = match factor(parts.suffix) {
        Some(Factor::Ten(exponent, _)) => {
            let scale = i64::from(exponent) - parts.fraction.len() as i64;
            digits <= 18
                && scale >= -9
                && scale % 3 == 0
                && !parts.whole.starts_with('0')
                && !format!("{}{}", parts.whole, parts.fraction).ends_with("000")
                && i64::try_from(quantity.nanos / NANO).is_ok()
        }
        Some(Factor::Two(bits)) => {
            parts.fraction.is_empty()
                && 14 >= digits + (bits as usize * 3 / 10)
                && parts.whole.parse::<u64>().is_ok_and(|n| n & 7 != 0)
        }
        None => false,
    };
    Ok(if kept {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(quantity.to_string())
    })
}

impl fmt::Display for Quantity {
    /// The canonical form: the largest suffix that leaves no fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.abs() < 1024 * NANO;
        if self.format == Format::BinarySi && !small && self.is_whole() {
            let (mut n, mut power) = (self.nanos / NANO, 0);
            while n % 1024 == 0 && power < 6 {
                n /= 1024;
                power += 1;
            }
            return write!(f, "{n}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
        let (mut n, mut exponent) = (self.nanos, -9);
        let most = if self.format == Format::DecimalExponent {
            i32::MAX
        } else {
            18
        };
        while n % 1000 == 0 && exponent < most {
            n /= 1000;
            exponent += 3;
        }
        match self.format {
            Format::DecimalExponent if exponent == 0 => write!(f, "{n}"),
            Format::DecimalExponent => write!(f, "{n}e{exponent}"),
            _ => {
                let suffix = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
                write!(f, "{n}{}", suffix[((exponent + 9) / 3) as usize])
            }
        }
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::parse(s)
    }
}
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}
/// Keeps the left notation, unless the left is zero.
impl Add for Quantity {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let format = if self.nanos == 0 {
            other.format
        } else {
            self.format
        };
        Self {
            nanos: self.nanos.saturating_add(other.nanos),
            format,
        }
    }
}
impl Sub for Quantity {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}
impl Neg for Quantity {
    type Output = Self;
    fn neg(self) -> Self {
        Self {
            nanos: self.nanos.saturating_neg(),
            format: self.format,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_text_is_upstreams() {
        for (text, expect) in [
            ("0", "0"),
            ("0Mi", "0"),
            ("-0", "0"),
            ("1.5", "1500m"),
            ("0.5", "500m"),
            ("1500m", "1500m"),
            ("1000m", "1"),
            ("100m", "100m"),
            ("2000", "2k"),
            ("1024Ki", "1Mi"),
            ("1000Ki", "1000Ki"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("1.5Gi", "1536Mi"),
            ("0.1Gi", "107374182400m"),
            ("1E3", "1E3"),
            ("12e6", "12e6"),
            ("1000e3", "1e6"),
            ("+5", "+5"),
            ("1e-3", "1e-3"),
            ("0.0000000001", "1n"),
            ("128974848", "128974848"),
            ("129e6", "129e6"),
            ("123Mi", "123Mi"),
            ("1e3", "1e3"),
            ("100000Ei", "9223372036854775807"),
            (" 5 ", "5"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(expect), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_upstreams_words() {
        for (text, expect) in [
            ("", QuantityError::Format),
            ("1 Gi", QuantityError::Format),
            ("abc", QuantityError::Format),
            ("1Mib", QuantityError::Format),
            ("1K", QuantityError::Suffix),
            ("1mi", QuantityError::Suffix),
            ("1e", QuantityError::Suffix),
            ("1e99999999999", QuantityError::Suffix),
            ("1e40", QuantityError::Numeric),
        ] {
            assert_eq!(
                Quantity::parse(text).map(|q| q.to_string()),
                Err(expect),
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_round_up_and_add_up() {
        let q = |s| Quantity::parse(s).unwrap();
        assert_eq!(
            (q("100m").value(), q("100m").millis(), q("1u").millis()),
            (1, 100, 1)
        );
        assert_eq!((q("-100m").value(), q("1Gi").value()), (-1, 1 << 30));
        assert_eq!((q("1") + q("500m")).to_string(), "1500m");
        assert_eq!((q("1Gi") - q("1Mi")).to_string(), "1023Mi");
        assert_eq!((q("0") + q("1Ki")).to_string(), "1Ki");
        assert!(q("1Ki") > q("1k") && q("1000m") == q("1"));
    }
}
