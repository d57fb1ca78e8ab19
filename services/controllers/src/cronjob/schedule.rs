//! Cron expressions as `robfig/cron` v3's standard parser reads them.
//!
//! Five fields (minute, hour, day of month, month, day of week), names of months and days, `*`, `?`, lists, ranges and
//! steps; `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually`, `@every <duration>`. If both
//! days are restricted, either suffices. A time that a change of clocks skips does not happen that day, unless only
//! the hour is skipped by it.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// When something happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Schedule {
    /// At certain minutes.
    Fields {
        minute: u64,
        hour: u64,
        day: u64,
        month: u64,
        weekday: u64,
        any_day: bool,
        any_weekday: bool,
    },
    /// At equal distances.
    Every(SignedDuration),
}

/// Why an expression is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct ScheduleError(String);

fn bad(text: impl Into<String>) -> ScheduleError {
    ScheduleError(text.into())
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

struct Bounds {
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

fn number(text: &str, bounds: &Bounds) -> Result<u32, ScheduleError> {
    let lower = text.to_ascii_lowercase();
    if let Some(at) = bounds.names.iter().position(|n| *n == lower) {
        return Ok(u32::try_from(at).unwrap_or(0) + bounds.low);
    }
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| bad(format!("failed to parse int from {text}")))
}

/// One field as bits, and whether it is `*` or `?`.
fn field(text: &str, bounds: &Bounds) -> Result<(u64, bool), ScheduleError> {
    let (mut bits, mut any) = (0u64, false);
    for part in text.split(',').filter(|p| !p.is_empty()) {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (
                range,
                Some(number(
                    step,
                    &Bounds {
                        low: 0,
                        high: 0,
                        names: &[],
                    },
                )?),
            ),
            None => (part, None),
        };
        let (low, high) = match range {
            "*" | "?" => {
                any |= step.is_none_or(|s| s == 1);
                (bounds.low, bounds.high)
            }
            _ => match range.split_once('-') {
                Some((a, b)) => (number(a, bounds)?, number(b, bounds)?),
                None => {
                    let n = number(range, bounds)?;
                    (n, if step.is_some() { bounds.high } else { n })
                }
            },
        };
        if low < bounds.low {
            return Err(bad(format!(
                "beginning of range ({low}) below minimum ({}): {part}",
                bounds.low
            )));
        }
        if high > bounds.high {
            return Err(bad(format!(
                "end of range ({high}) above maximum ({}): {part}",
                bounds.high
            )));
        }
        if low > high {
            return Err(bad(format!(
                "beginning of range ({low}) beyond end of range ({high}): {part}"
            )));
        }
        let step = step.unwrap_or(1);
        if step == 0 {
            return Err(bad(format!("step of range should be a positive number: {part}")));
        }
        for n in (low..=high).step_by(usize::try_from(step).unwrap_or(1)) {
            bits |= 1 << n;
        }
    }
    if bits == 0 {
        Err(bad(format!("empty field {text:?}")))
    } else {
        Ok((bits, any))
    }
}

/// Go's duration text, as far as `@every` needs it.
fn duration(text: &str) -> Option<SignedDuration> {
    let (mut rest, mut total) = (text, 0f64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let (unit, scale) = [
            ("ns", 1e-9),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("ms", 1e-3),
            ("h", 3600.0),
            ("m", 60.0),
            ("s", 1.0),
        ]
        .into_iter()
        .find(|(unit, _)| rest.starts_with(unit))?;
        total += value * scale;
        rest = &rest[unit.len()..];
    }
    // Whole seconds, one at least.
    (total > 0.0 && total < 1e10).then(|| SignedDuration::from_secs_f64(total.floor().max(1.0)))
}

impl Schedule {
    /// Reads an expression; `TZ=` and `CRON_TZ=` are not allowed in it (Kubernetes has a field for that).
    pub(super) fn parse(text: &str) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let standard = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        if let Some(every) = standard.strip_prefix("@every ") {
            let every = duration(every).ok_or_else(|| bad(format!("failed to parse duration {text}")))?;
            return Ok(Self::Every(every));
        }
        if standard.starts_with('@') {
            return Err(bad(format!("unrecognized descriptor: {text}")));
        }
        let fields: Vec<&str> = standard.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(bad(format!(
                "expected exactly 5 fields, found {}: {fields:?}",
                fields.len()
            )));
        };
        let (day, any_day) = field(
            day,
            &Bounds {
                low: 1,
                high: 31,
                names: &[],
            },
        )?;
        let (weekday, any_weekday) = field(
            weekday,
            &Bounds {
                low: 0,
                high: 6,
                names: &DAYS,
            },
        )?;
        Ok(Self::Fields {
            minute: field(
                minute,
                &Bounds {
                    low: 0,
                    high: 59,
                    names: &[],
                },
            )?
            .0,
            hour: field(
                hour,
                &Bounds {
                    low: 0,
                    high: 23,
                    names: &[],
                },
            )?
            .0,
            month: field(
                month,
                &Bounds {
                    low: 1,
                    high: 12,
                    names: &MONTHS,
                },
            )?
            .0,
            day,
            weekday,
            any_day,
            any_weekday,
        })
    }

    fn matches_day(&self, date: Date) -> bool {
        let Self::Fields {
            day,
            month,
            weekday,
            any_day,
            any_weekday,
            ..
        } = self
        else {
            return false;
        };
        let has = |bits: &u64, n: i8| bits & (1 << n) != 0;
        if !has(month, date.month()) {
            return false;
        }
        let (a, b) = (
            has(day, date.day()),
            has(weekday, date.weekday().to_sunday_zero_offset()),
        );
        if *any_day || *any_weekday { a && b } else { a || b }
    }

    /// The first time after `after`; `None` if there is none within five years.
    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let (minutes, hours) = match self {
            Self::Every(every) => {
                let whole = Timestamp::from_second(after.as_second()).ok()?;
                return whole.checked_add(*every).ok();
            }
            Self::Fields { minute, hour, .. } => (*minute, *hour),
        };
        let mut date = after.to_zoned(zone.clone()).date();
        for _ in 0..366 * 5 {
            if self.matches_day(date) {
                for hour in (0..24i8).filter(|h| hours & (1 << h) != 0) {
                    for minute in (0..60i8).filter(|m| minutes & (1 << m) != 0) {
                        // In a gap there is no such time; in a fold the first counts.
                        let at = zone.to_ambiguous_timestamp(date.at(hour, minute, 0, 0));
                        let Ok(at) = (if at.is_ambiguous() {
                            at.earlier()
                        } else {
                            at.compatible()
                        }) else {
                            continue;
                        };
                        let local = zone.to_datetime(at);
                        let real = (local.hour(), local.minute()) == (hour, minute);
                        if real && at > after {
                            return Some(at);
                        }
                    }
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    fn next(text: &str, after: &str, zone: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        Schedule::parse(text)
            .unwrap()
            .next(at(after), &zone)
            .map(|t| t.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn schedules_are_those_of_cron() {
        let from = "2026-01-01T10:07:30Z";
        for (text, want) in [
            ("*/15 * * * *", "2026-01-01T10:15:00Z"),
            ("5/20 * * * *", "2026-01-01T10:25:00Z"),
            ("0 0 * * *", "2026-01-02T00:00:00Z"),
            ("0 12 1 * mon", "2026-01-01T12:00:00Z"),
            ("0 9 13 * fri", "2026-01-02T09:00:00Z"),
            ("0 9 * * 1-5", "2026-01-02T09:00:00Z"),
            ("0 0 29 feb *", "2028-02-29T00:00:00Z"),
            ("@weekly", "2026-01-04T00:00:00Z"),
            ("@every 1h30m", "2026-01-01T11:37:30Z"),
            ("0 0 31 feb *", ""),
        ] {
            assert_eq!(next(text, from, "UTC"), want, "{text}");
        }
        for bad in [
            "* * * *",
            "60 * * * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "@often",
            "x * * * *",
            "* * 0 * *",
        ] {
            assert!(Schedule::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_schedule_lives_in_its_zone() {
        assert_eq!(
            next("0 9 * * *", "2026-01-01T12:00:00Z", "Europe/Berlin"),
            "2026-01-02T08:00:00Z"
        );
        assert_eq!(
            next("0 9 * * *", "2026-07-01T12:00:00Z", "Europe/Berlin"),
            "2026-07-02T07:00:00Z"
        );
        // 02:30 does not exist on the day the clocks go forward.
        assert_eq!(
            next("30 2 * * *", "2026-03-28T12:00:00Z", "Europe/Berlin"),
            "2026-03-30T00:30:00Z"
        );
    }
}
