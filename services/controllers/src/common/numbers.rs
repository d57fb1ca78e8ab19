//! Absolute numbers or percentages (`intstr.IntOrString`).

use crate::kinds::IntOrString;

/// The number that is meant, of a total. Percentages round up or down; nonsense counts as 0.
pub(crate) fn scaled(value: Option<&IntOrString>, total: i32, up: bool, default: &str) -> i32 {
    let percent = |text: &str| -> Option<i32> {
        let n: i64 = text.strip_suffix('%')?.parse().ok()?;
        let product = n * i64::from(total);
        let whole = if up {
            product.div_euclid(100) + i64::from(product.rem_euclid(100) != 0)
        } else {
            product.div_euclid(100)
        };
        i32::try_from(whole).ok()
    };
    match value {
        Some(IntOrString::Int(n)) => *n,
        Some(IntOrString::String(text)) => percent(text).unwrap_or(0),
        None => percent(default).or_else(|| default.parse().ok()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_asked() {
        let p = IntOrString::String("25%".into());
        assert_eq!(
            (scaled(Some(&p), 10, true, ""), scaled(Some(&p), 10, false, "")),
            (3, 2)
        );
        assert_eq!(scaled(Some(&IntOrString::Int(4)), 10, true, ""), 4);
        assert_eq!(scaled(None, 4, false, "25%"), 1);
        assert_eq!(scaled(None, 4, false, "1"), 1);
    }
}
