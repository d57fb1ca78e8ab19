//! Counting a probe's outcomes until they make a verdict: pure.

use super::Kind;

/// Counts of one probe.
#[derive(Debug)]
pub struct Verdicts {
    success_threshold: u32,
    failure_threshold: u32,
    last: Option<bool>,
    run: u32,
    verdict: Option<bool>,
}

impl Verdicts {
    /// Before the first answer a container counts as alive but neither as started nor as ready.
    pub fn new(kind: Kind, success_threshold: u32, failure_threshold: u32) -> Self {
        let verdict = match kind {
            Kind::Startup => None,
            Kind::Liveness => Some(true),
            Kind::Readiness => Some(false),
        };
        Self {
            success_threshold,
            failure_threshold,
            last: None,
            run: 0,
            verdict,
        }
    }

    /// Counts an outcome. `Some` if the verdict changes.
    pub fn count(&mut self, success: bool) -> Option<bool> {
        self.run = if self.last == Some(success) {
            self.run.saturating_add(1)
        } else {
            1
        };
        self.last = Some(success);
        let needed = if success {
            self.success_threshold
        } else {
            self.failure_threshold
        };
        if self.run < needed || self.verdict == Some(success) {
            return None;
        }
        self.verdict = Some(success);
        self.verdict
    }

    /// Whether successes are being counted but are not enough yet.
    pub fn undecided(&self) -> bool {
        self.verdict != Some(true) && self.last == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(kind: Kind, success: u32, failure: u32, outcomes: &[bool]) -> Vec<Option<bool>> {
        let mut v = Verdicts::new(kind, success, failure);
        outcomes.iter().map(|o| v.count(*o)).collect()
    }

    #[test]
    fn a_verdict_changes_after_its_threshold_in_a_row() {
        assert_eq!(
            run(
                Kind::Liveness,
                1,
                3,
                &[true, false, false, true, false, false, false, false]
            ),
            [None, None, None, None, None, None, Some(false), None]
        );
        assert_eq!(
            run(Kind::Readiness, 2, 2, &[true, true, false, false, true, true]),
            [None, Some(true), None, Some(false), None, Some(true)]
        );
        assert_eq!(run(Kind::Startup, 1, 2, &[false, true]), [None, Some(true)]);
        assert_eq!(run(Kind::Startup, 1, 2, &[false, false]), [None, Some(false)]);
    }
}
