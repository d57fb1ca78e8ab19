//! Cells that many kinds print alike.
//!
//! Source: upstream's `pkg/printers/internalversion/printers.go` and `duration.HumanDuration`.

use jiff::Timestamp;
use machinery::Value;

use crate::{Column, Cx};

/// An ordinary column.
pub(crate) const fn column(name: &'static str, ty: &'static str) -> Column {
    Column {
        name,
        ty,
        format: "",
        priority: 0,
    }
}
/// The first column.
pub(crate) const NAME: Column = Column {
    name: "Name",
    ty: "string",
    format: "name",
    priority: 0,
};
/// The column of ages.
pub(crate) const AGE: Column = column("Age", "string");
/// A column of strings.
pub(crate) const fn text(name: &'static str) -> Column {
    column(name, "string")
}
/// A column of whole numbers.
pub(crate) const fn number(name: &'static str) -> Column {
    column(name, "integer")
}
/// A column of strings that only `-o wide` shows.
pub(crate) const fn wide(name: &'static str) -> Column {
    Column {
        name,
        ty: "string",
        format: "",
        priority: 1,
    }
}

/// The columns of kinds that have no others.
pub(crate) const NAME_AND_AGE: &[Column] = &[NAME, AGE];

/// The cells of [`NAME_AND_AGE`].
pub(crate) fn name_and_age(object: &Value, cx: &Cx<'_>) -> Vec<Value> {
    vec![name(object), age(object, cx)]
}

/// The columns of built-in kinds that upstream has no printer for.
pub(crate) const NAME_AND_CREATED: &[Column] = &[NAME, column("Created At", "date")];

/// The cells of [`NAME_AND_CREATED`].
pub(crate) fn name_and_created(object: &Value) -> Vec<Value> {
    vec![
        name(object),
        object.at(&["metadata", "creationTimestamp"]).clone(),
    ]
}

/// `metadata.name`.
pub(crate) fn name(object: &Value) -> Value {
    object
        .str_at(&["metadata", "name"])
        .unwrap_or_default()
        .to_owned()
        .into()
}

/// The time since `metadata.creationTimestamp`.
pub(crate) fn age(object: &Value, cx: &Cx<'_>) -> Value {
    since(object.at(&["metadata", "creationTimestamp"]), cx)
}

/// The time since a timestamp, `<unknown>` if there is none.
pub(crate) fn since(time: &Value, cx: &Cx<'_>) -> Value {
    match parse_time(time) {
        Some(then) => human_duration(cx.now.as_second() - then.as_second()).into(),
        None => "<unknown>".into(),
    }
}

/// A timestamp's value.
pub(crate) fn parse_time(time: &Value) -> Option<Timestamp> {
    time.as_str()?.parse().ok()
}

/// A string, or `<none>`.
pub(crate) fn or_none(text: &str) -> Value {
    if text.is_empty() {
        "<none>".into()
    } else {
        text.to_owned().into()
    }
}

/// A string cell; empty where there is none.
pub(crate) fn cell(value: &Value) -> Value {
    match value {
        Value::Null => "".into(),
        other => other.clone(),
    }
}

/// An integer cell; 0 where there is none.
pub(crate) fn int(value: &Value) -> Value {
    value.as_i64().unwrap_or(0).into()
}

/// Labels as `a=b,c=d`, sorted; `<none>` if there are none.
pub(crate) fn labels(map: &Value) -> Value {
    let mut pairs: Vec<String> = map
        .as_map()
        .into_iter()
        .flat_map(|m| m.iter())
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    pairs.sort_unstable();
    or_none(&pairs.join(","))
}

/// A `metav1.LabelSelector` as kubectl prints it; `<none>` if there is none or it is empty.
pub(crate) fn selector(object: &Value) -> Value {
    if object.is_null() {
        return "<none>".into();
    }
    match machinery::selector::Selector::from_object(object) {
        Ok(s) => or_none(&s.to_string()),
        Err(_) => "<error>".into(),
    }
}

/// At most three texts, then `+ n more...`.
pub(crate) fn shortened(items: &[String]) -> String {
    const MOST: usize = 3;
    if items.len() > MOST {
        format!("{} + {} more...", items[..MOST].join(","), items.len() - MOST)
    } else {
        items.join(",")
    }
}

/// A list's strings.
pub(crate) fn strings<'a>(value: &'a Value, path: &[&str]) -> Vec<&'a str> {
    value.list_at(path).iter().filter_map(Value::as_str).collect()
}

/// Names and images of a pod template's containers, for `-o wide`.
pub(crate) fn containers(pod_spec: &Value) -> [Value; 2] {
    let all = |field: &str| {
        let texts: Vec<&str> = pod_spec
            .list_at(&["containers"])
            .iter()
            .map(|c| c[field].as_str().unwrap_or_default())
            .collect();
        Value::from(texts.join(","))
    };
    [all("name"), all("image")]
}

/// A span in the coarse form that kubectl shows: `45s`, `3m20s`, `5h`, `2d3h`, `400d`, `3y45d`.
pub fn human_duration(seconds: i64) -> String {
    // One second of skew between clocks is allowed for; more is an error.
    if seconds < -1 {
        return "<invalid>".into();
    }
    let seconds = seconds.max(0);
    if seconds < 60 * 2 {
        return format!("{seconds}s");
    }
    let two = |a: i64, unit: &str, b: i64, smaller: &str| match b {
        0 => format!("{a}{unit}"),
        _ => format!("{a}{unit}{b}{smaller}"),
    };
    let minutes = seconds / 60;
    if minutes < 10 {
        return two(minutes, "m", seconds % 60, "s");
    }
    if minutes < 60 * 3 {
        return format!("{minutes}m");
    }
    let hours = minutes / 60;
    if hours < 8 {
        return two(hours, "h", minutes % 60, "m");
    }
    if hours < 48 {
        return format!("{hours}h");
    }
    let days = hours / 24;
    if hours < 24 * 8 {
        return two(days, "d", hours % 24, "h");
    }
    if hours < 24 * 365 * 2 {
        return format!("{days}d");
    }
    let years = days / 365;
    if hours < 24 * 365 * 8 {
        return two(years, "y", days % 365, "d");
    }
    format!("{years}y")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_as_coarse_as_upstreams() {
        const H: i64 = 3600;
        const D: i64 = 24 * H;
        for (seconds, expect) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (600, "10m"),
            (3 * H - 1, "179m"),
            (3 * H, "3h"),
            (3 * H + 300, "3h5m"),
            (8 * H, "8h"),
            (2 * D, "2d"),
            (2 * D + 3 * H, "2d3h"),
            (8 * D, "8d"),
            (400 * D, "400d"),
            (2 * 365 * D, "2y"),
            (3 * 365 * D + 45 * D, "3y45d"),
            (9 * 365 * D, "9y"),
        ] {
            assert_eq!(human_duration(seconds), expect, "{seconds}");
        }
    }
}
