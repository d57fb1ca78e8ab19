//! The one spelling of times, durations and bytes.
//!
//! `metav1.Time` is UTC with whole seconds, `metav1.MicroTime` has six digits, `metav1.Duration` is Go's text. A zero
//! time is null. Quantities have their own module.

use std::borrow::Cow;
use std::fmt::Write;

use jiff::Timestamp;

/// Seconds of the year 1 in Go's zero time.
const ZERO_TIME: i64 = -62_135_596_800;

/// A moment as protobuf has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) seconds: i64,
    pub(crate) nanos: i32,
}

impl Moment {
    pub(crate) fn is_zero(self) -> bool {
        self.seconds == ZERO_TIME && self.nanos == 0
    }

    /// `2006-01-02T15:04:05Z`, with six digits of the second if `micro`.
    pub(crate) fn text(self, micro: bool) -> String {
        let (days, second) = (self.seconds.div_euclid(86_400), self.seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let mut out = String::with_capacity(27);
        let _ = write!(
            out,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
            second / 3600,
            second / 60 % 60,
            second % 60
        );
        if micro {
            let _ = write!(out, ".{:06}", self.nanos / 1000);
        }
        out.push('Z');
        out
    }

    /// Reads RFC 3339; `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(moment) = Self::parse_utc(text.as_bytes()) {
            return Some(moment);
        }
        if text == "0001-01-01T00:00:00Z" {
            return Some(Self {
                seconds: ZERO_TIME,
                nanos: 0,
            });
        }
        let b = text.as_bytes();
        if b.len() < 20 || b[4] != b'-' || b[7] != b'-' || b[10] != b'T' || b[13] != b':' || b[16] != b':' {
            return None;
        }
        let at: Timestamp = text.parse().ok()?;
        Some(Self {
            seconds: at.as_second(),
            nanos: at.subsec_nanosecond(),
        })
    }

    /// The usual form: UTC, with or without six digits.
    fn parse_utc(b: &[u8]) -> Option<Self> {
        let shape = (b.len() == 20 || (b.len() == 27 && b[19] == b'.')) && b[b.len() - 1] == b'Z';
        if !shape || b[4] != b'-' || b[7] != b'-' || b[10] != b'T' || b[13] != b':' || b[16] != b':' {
            return None;
        }
        let number = |from: usize, to: usize| -> Option<i64> {
            b[from..to].iter().try_fold(0i64, |n, c| {
                c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0'))
            })
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        if day < 1 || day > length || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let micros = if b.len() == 27 { number(20, 26)? } else { 0 };
        let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        Some(Self {
            seconds,
            nanos: micros as i32 * 1000,
        })
    }
}

/// Year, month and day of a day since 1970 (proleptic Gregorian; Hinnant's algorithm).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (
        yoe + era * 400 + i64::from(month <= 2),
        month,
        doy - (153 * mp + 2) / 5 + 1,
    )
}

/// Days since 1970 of a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = year - i64::from(month <= 2);
    let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// Go's duration text in nanoseconds, e.g. `1h2m3.5s`; `None` if it is none.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        total += whole
            .parse::<i64>()
            .or(if whole.is_empty() { Ok(0) } else { Err(()) })
            .ok()? as i128
            * unit;
        let fraction = &fraction[..fraction.len().min(15)];
        if !fraction.is_empty() {
            total += fraction.parse::<i128>().ok()? * unit / 10i128.pow(fraction.len() as u32);
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// Nanoseconds as Go's duration text: `1h2m3.5s`, `1.5ms`, `0s`.
pub(crate) fn duration_text(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".into();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let n = nanos.unsigned_abs();
    let fraction = |n: u64, unit: u64| {
        let (whole, rest) = (n / unit, n % unit);
        let digits = unit.ilog10() as usize;
        let rest = format!("{rest:0digits$}");
        match rest.trim_end_matches('0') {
            "" => whole.to_string(),
            rest => format!("{whole}.{rest}"),
        }
    };
    match n {
        0..1_000 => format!("{sign}{n}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", fraction(n, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(n, 1_000_000)),
        _ => {
            let (minutes, seconds) = (n / 60_000_000_000, fraction(n % 60_000_000_000, 1_000_000_000));
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, m) => format!("{sign}{m}m{seconds}s"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
            }
        }
    }
}

/// Checks standard base64 and drops line breaks; the position of the first bad character otherwise.
pub(crate) fn check_base64(text: Cow<'static, str>) -> Result<Cow<'static, str>, usize> {
    let text = if text.contains(['\n', '\r']) {
        Cow::Owned(text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect())
    } else {
        text
    };
    let b = text.as_bytes();
    let body = b.len() - b.iter().rev().take(2).take_while(|c| **c == b'=').count();
    match b[..body]
        .iter()
        .position(|c| !(c.is_ascii_alphanumeric() || *c == b'+' || *c == b'/'))
    {
        Some(at) => Err(at),
        None if !b.len().is_multiple_of(4) || body % 4 == 1 => Err(body),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_spelling() {
        let show = |s: &str, micro| Moment::parse(s).map(|m| m.text(micro));
        assert_eq!(
            show("2026-02-28T23:59:59Z", false).as_deref(),
            Some("2026-02-28T23:59:59Z")
        );
        assert_eq!(
            show("2026-03-01T01:00:00.25+02:00", false).as_deref(),
            Some("2026-02-28T23:00:00Z")
        );
        assert_eq!(
            show("2024-02-29T00:00:00.000010Z", true).as_deref(),
            Some("2024-02-29T00:00:00.000010Z")
        );
        assert_eq!(
            show("1969-12-31T23:59:59Z", false).as_deref(),
            Some("1969-12-31T23:59:59Z")
        );
        for bad in [
            "",
            "2026-02-30T00:00:00Z",
            "2026-02-03",
            "2026-02-03 00:00:00Z",
            "yesterday",
        ] {
            assert_eq!(show(bad, false), None, "{bad}");
        }
        assert!(Moment::parse("0001-01-01T00:00:00Z").is_some_and(Moment::is_zero));
    }

    #[test]
    fn durations_print_as_go_prints_them() {
        for text in ["0s", "1ns", "1.5µs", "2ms", "1.5s", "1m0s", "1h0m0.5s", "-2h3m4s"] {
            assert_eq!(parse_duration(text).map(duration_text).as_deref(), Some(text));
        }
        assert_eq!(
            parse_duration("90m").map(duration_text).as_deref(),
            Some("1h30m0s")
        );
        assert_eq!(
            parse_duration("1.5h").map(duration_text).as_deref(),
            Some("1h30m0s")
        );
        for bad in ["", "5", "s", "1x", "1..5s", "-"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
