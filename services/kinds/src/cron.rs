//! Whether a cron schedule is one: five fields, or a descriptor such as `@hourly`.
//!
//! The grammar and the messages are those of the library upstream uses (robfig/cron 3, standard parser).

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// One field: the least and the greatest number, and names that stand for numbers from the least on.
struct Field {
    least: u32,
    greatest: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field {
        least: 0,
        greatest: 59,
        names: &[],
    },
    Field {
        least: 0,
        greatest: 23,
        names: &[],
    },
    Field {
        least: 1,
        greatest: 31,
        names: &[],
    },
    Field {
        least: 1,
        greatest: 12,
        names: &MONTHS,
    },
    Field {
        least: 0,
        greatest: 6,
        names: &DAYS,
    },
];

/// What is wrong with a schedule, if anything.
pub(crate) fn wrong(schedule: &str) -> Option<String> {
    let mut text = schedule;
    if let Some(rest) = text.strip_prefix("TZ=").or(text.strip_prefix("CRON_TZ=")) {
        let (zone, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        if jiff::tz::TimeZone::get(zone).is_err() {
            return Some(format!("provided bad location {zone}: unknown time zone {zone}"));
        }
        text = rest.trim();
    }
    if text.starts_with('@') {
        return descriptor(text);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let shown = fields.join(" ");
        return Some(format!(
            "expected exactly 5 fields, found {}: [{shown}]",
            fields.len()
        ));
    }
    fields
        .iter()
        .zip(&FIELDS)
        .find_map(|(text, field)| text.split(',').find_map(|range| wrong_range(range, field)))
}

fn descriptor(text: &str) -> Option<String> {
    match text {
        "@yearly" | "@annually" | "@monthly" | "@weekly" | "@daily" | "@midnight" | "@hourly" => None,
        _ => match text.strip_prefix("@every ") {
            Some(span) if span_is_good(span) => None,
            Some(span) => Some(format!(
                "failed to parse duration {text}: time: invalid duration {span:?}"
            )),
            None => Some(format!("unrecognized descriptor: {text}")),
        },
    }
}

/// Go's durations: numbers with units, one after the other.
fn span_is_good(mut text: &str) -> bool {
    text = text.strip_prefix(['-', '+']).unwrap_or(text);
    if text.is_empty() {
        return false;
    }
    while !text.is_empty() {
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        if digits == 0 || text[..digits].parse::<f64>().is_err() {
            return false;
        }
        text = &text[digits..];
        let Some(unit) = ["ns", "us", "µs", "ms", "s", "m", "h"]
            .iter()
            .find(|u| text.starts_with(**u))
        else {
            return false;
        };
        text = &text[unit.len()..];
    }
    true
}

fn number(text: &str, field: &Field) -> Result<u32, String> {
    let lower = text.to_lowercase();
    if let Some(at) = field.names.iter().position(|n| *n == lower) {
        return Ok(field.least + at as u32);
    }
    match text.parse::<i64>() {
        Ok(n) if n < 0 => Err(format!("negative number ({n}) not allowed: {text}")),
        Ok(n) => Ok(u32::try_from(n).unwrap_or(u32::MAX)),
        Err(_) => Err(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"
        )),
    }
}

fn wrong_range(range: &str, field: &Field) -> Option<String> {
    let mut parts = range.split('/');
    let (span, step) = (parts.next().unwrap_or_default(), parts.next());
    if parts.next().is_some() {
        return Some(format!("too many slashes: {range}"));
    }
    let ends: Vec<&str> = span.split('-').collect();
    let (start, end) = if matches!(ends[0], "*" | "?") {
        (field.least, field.greatest)
    } else {
        let start = match number(ends[0], field) {
            Ok(n) => n,
            Err(e) => return Some(e),
        };
        let end = match ends[..] {
            [_] if step.is_some() => Ok(field.greatest),
            [_] => Ok(start),
            [_, end] => number(end, field),
            _ => return Some(format!("too many hyphens: {range}")),
        };
        match end {
            Ok(end) => (start, end),
            Err(e) => return Some(e),
        }
    };
    let step = match step.map(|s| number(s, &Field { names: &[], ..*field })) {
        None => 1,
        Some(Ok(n)) => n,
        Some(Err(e)) => return Some(e),
    };
    if start < field.least {
        Some(format!(
            "beginning of range ({start}) below minimum ({}): {range}",
            field.least
        ))
    } else if end > field.greatest {
        Some(format!(
            "end of range ({end}) above maximum ({}): {range}",
            field.greatest
        ))
    } else if start > end {
        Some(format!(
            "beginning of range ({start}) beyond end of range ({end}): {range}"
        ))
    } else if step == 0 {
        Some(format!("step of range should be a positive number: {range}"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_judged() {
        for good in [
            "* * * * *",
            "*/5 0-12,20 1 jan-mar MON",
            "@hourly",
            "@every 1h30m",
            "0 0 ? * 6",
        ] {
            assert_eq!(wrong(good), None, "{good}");
        }
        for (bad, expect) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            (
                "x * * * *",
                "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            (
                "5-3 * * * *",
                "beginning of range (5) beyond end of range (3): 5-3",
            ),
            ("@often", "unrecognized descriptor: @often"),
        ] {
            assert_eq!(wrong(bad).as_deref(), Some(expect), "{bad}");
        }
    }
}
