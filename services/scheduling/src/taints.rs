//! Taints and tolerations (Kubernetes documentation, "Taints and Tolerations").

use machinery::Value;

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// New pods stay away.
    NoSchedule,
    /// New pods stay away if they can.
    PreferNoSchedule,
    /// Pods that run there go, too.
    NoExecute,
}

impl Effect {
    fn read(text: &str) -> Option<Self> {
        match text {
            "NoSchedule" => Some(Self::NoSchedule),
            "PreferNoSchedule" => Some(Self::PreferNoSchedule),
            "NoExecute" => Some(Self::NoExecute),
            _ => None,
        }
    }
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: Effect,
}

/// A toleration of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toleration {
    /// Empty with `exists`: every key.
    pub key: String,
    pub value: String,
    /// `None`: every effect.
    pub effect: Option<Effect>,
    pub operator: TolerationOperator,
}

/// How a toleration compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TolerationOperator {
    Equal,
    Exists,
    /// Both values are integers and the taint's is the smaller.
    Lt,
    /// Both values are integers and the taint's is the larger.
    Gt,
}

/// A node's taints.
pub fn read_taints(spec: &Value) -> Vec<Taint> {
    let read = |taint: &Value| {
        Some(Taint {
            key: taint.str_at(&["key"])?.to_owned(),
            value: taint.str_at(&["value"]).unwrap_or_default().to_owned(),
            effect: Effect::read(taint.str_at(&["effect"])?)?,
        })
    };
    spec.list_at(&["taints"]).iter().filter_map(read).collect()
}

/// A pod's tolerations.
pub fn read_tolerations(spec: &Value) -> Vec<Toleration> {
    let text = |v: &Value, key: &str| v[key].as_str().unwrap_or_default().to_owned();
    spec.list_at(&["tolerations"])
        .iter()
        .map(|t| Toleration {
            key: text(t, "key"),
            value: text(t, "value"),
            effect: t.str_at(&["effect"]).and_then(Effect::read),
            operator: match t.str_at(&["operator"]) {
                Some("Exists") => TolerationOperator::Exists,
                Some("Lt") => TolerationOperator::Lt,
                Some("Gt") => TolerationOperator::Gt,
                _ => TolerationOperator::Equal,
            },
        })
        .collect()
}

impl Toleration {
    /// Whether it covers a taint.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        let numbers = || Some((taint.value.parse::<i64>().ok()?, self.value.parse::<i64>().ok()?));
        self.effect.is_none_or(|effect| effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && match self.operator {
                TolerationOperator::Exists => true,
                TolerationOperator::Equal => self.value == taint.value,
                TolerationOperator::Lt => numbers().is_some_and(|(taint, mine)| taint < mine),
                TolerationOperator::Gt => numbers().is_some_and(|(taint, mine)| taint > mine),
            }
    }
}

/// The first taint that keeps a pod with these tolerations away.
pub fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| taint.effect != Effect::PreferNoSchedule)
        .find(|taint| !tolerations.iter().any(|t| t.tolerates(taint)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::value;

    #[test]
    fn tolerations_cover_what_they_name() {
        let node = value!({"taints": [{"key": "a", "value": "1", "effect": "NoSchedule"}]});
        let taints = read_taints(&node);
        let covered = |t: Value| {
            let mut spec = Value::map();
            spec.at_mut(&[]).insert("tolerations", vec![t]);
            untolerated(&taints, &read_tolerations(&spec)).is_none()
        };
        assert!(covered(value!({"operator": "Exists"})));
        assert!(covered(value!({"key": "a", "operator": "Exists"})));
        assert!(covered(value!({"key": "a", "value": "1"})));
        assert!(covered(value!({"key": "a", "value": "2", "operator": "Lt"})));
        assert!(!covered(value!({"key": "a", "value": "2"})));
        assert!(!covered(value!({"key": "b", "operator": "Exists"})));
        assert!(!covered(
            value!({"key": "a", "value": "1", "effect": "NoExecute"})
        ));
    }
}
