//! Amounts of resources: what a pod asks for and what a node has.

use machinery::Value;
use machinery::quantity::Quantity;

/// Amounts by resource. CPU in thousandths of a core, everything else in whole units (bytes for memory).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a core.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of local storage.
    pub ephemeral_storage: i64,
    /// How many pods (capacity only).
    pub pods: i64,
    /// Extended resources and huge pages, by name; few or none.
    pub others: Vec<(String, i64)>,
}

/// What a container without a request is taken to ask for when nodes are compared (never when they are filtered):
/// a tenth of a core and 200 MB, as upstream does.
pub const NONZERO_MILLI_CPU: i64 = 100;
/// See [`NONZERO_MILLI_CPU`].
pub const NONZERO_MEMORY: i64 = 200 * 1024 * 1024;

fn amount(value: &Value, milli: bool) -> i64 {
    let parsed = match value {
        Value::Str(text) => Quantity::parse(text).ok(),
        Value::Int(n) => return if milli { n.saturating_mul(1000) } else { *n },
        _ => None,
    };
    parsed.map_or(0, |q| if milli { q.millis() } else { q.value() })
}

impl Resources {
    /// Reads a resource list (`requests`, `allocatable`).
    pub fn read(list: &Value) -> Self {
        let mut all = Self::default();
        for (name, value) in list.as_map().into_iter().flat_map(|m| m.iter()) {
            match name {
                "cpu" => all.milli_cpu = amount(value, true),
                "memory" => all.memory = amount(value, false),
                "ephemeral-storage" => all.ephemeral_storage = amount(value, false),
                "pods" => all.pods = amount(value, false),
                other => all.others.push((other.to_owned(), amount(value, false))),
            }
        }
        all
    }

    fn other_mut(&mut self, name: &str) -> &mut i64 {
        let at = match self.others.iter().position(|(n, _)| n == name) {
            Some(at) => at,
            None => {
                self.others.push((name.to_owned(), 0));
                self.others.len() - 1
            }
        };
        &mut self.others[at].1
    }

    /// The amount of an extended resource.
    pub fn other(&self, name: &str) -> i64 {
        self.others
            .iter()
            .find(|(n, _)| n == name)
            .map_or(0, |(_, amount)| *amount)
    }

    /// Adds `other` `times` times (−1 takes away).
    pub fn add(&mut self, other: &Self, times: i64) {
        self.milli_cpu = self
            .milli_cpu
            .saturating_add(other.milli_cpu.saturating_mul(times));
        self.memory = self.memory.saturating_add(other.memory.saturating_mul(times));
        self.ephemeral_storage = self
            .ephemeral_storage
            .saturating_add(other.ephemeral_storage.saturating_mul(times));
        self.pods = self.pods.saturating_add(other.pods.saturating_mul(times));
        for (name, amount) in &other.others {
            let slot = self.other_mut(name);
            *slot = slot.saturating_add(amount.saturating_mul(times));
        }
    }

    /// Raises every amount to at least that of `other`.
    pub fn max(&mut self, other: &Self) {
        self.milli_cpu = self.milli_cpu.max(other.milli_cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral_storage = self.ephemeral_storage.max(other.ephemeral_storage);
        for (name, amount) in &other.others {
            let slot = self.other_mut(name);
            *slot = (*slot).max(*amount);
        }
    }
}

/// What a pod asks for: the larger of its containers' sum and the peak of its init containers (init containers that
/// restart always stay and add up), raised by what the pod itself asks for, plus the overhead of its runtime class.
/// (Kubernetes documentation, "Resource sharing within containers".)
pub fn of_pod(spec: &Value) -> Resources {
    let requests = |container: &Value| Resources::read(container.at(&["resources", "requests"]));
    let mut total = Resources::default();
    for container in spec.list_at(&["containers"]) {
        total.add(&requests(container), 1);
    }
    let mut sidecars = Resources::default();
    let mut peak = Resources::default();
    for container in spec.list_at(&["initContainers"]) {
        let mut here = requests(container);
        if container.str_at(&["restartPolicy"]) == Some("Always") {
            total.add(&here, 1);
            sidecars.add(&here, 1);
            here = sidecars.clone();
        } else {
            here.add(&sidecars, 1);
        }
        peak.max(&here);
    }
    total.max(&peak);
    let own = Resources::read(spec.at(&["resources", "requests"]));
    for (mine, pods) in [
        (&mut total.milli_cpu, own.milli_cpu),
        (&mut total.memory, own.memory),
        (&mut total.ephemeral_storage, own.ephemeral_storage),
    ] {
        if pods > 0 {
            *mine = pods;
        }
    }
    total.add(&Resources::read(&spec["overhead"]), 1);
    total
}

/// CPU and memory that a pod counts for when nodes are compared.
pub fn nonzero_of_pod(spec: &Value) -> (i64, i64) {
    let mut sum = (0i64, 0i64);
    for container in spec.list_at(&["containers"]) {
        let asked = Resources::read(container.at(&["resources", "requests"]));
        sum.0 = sum.0.saturating_add(if asked.milli_cpu == 0 {
            NONZERO_MILLI_CPU
        } else {
            asked.milli_cpu
        });
        sum.1 = sum.1.saturating_add(if asked.memory == 0 {
            NONZERO_MEMORY
        } else {
            asked.memory
        });
    }
    let total = of_pod(spec);
    (sum.0.max(total.milli_cpu), sum.1.max(total.memory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::value;

    fn container(cpu: &'static str, memory: &'static str) -> Value {
        value!({"resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    #[test]
    fn init_containers_count_with_their_peak_and_sidecars_with_their_sum() {
        let mut sidecar = container("100m", "10Mi");
        sidecar.at_mut(&[]).insert("restartPolicy", "Always");
        let mut spec = Value::map();
        spec.at_mut(&[])
            .insert("containers", vec![container("200m", "64Mi"), container("1", "0")]);
        spec.at_mut(&[])
            .insert("initContainers", vec![sidecar, container("2", "1Mi")]);
        let total = of_pod(&spec);
        assert_eq!(
            total.milli_cpu, 2100,
            "the second init container beside the sidecar is the peak"
        );
        assert_eq!(total.memory, 74 * 1024 * 1024);
    }

    #[test]
    fn nonsense_counts_as_nothing() {
        let list = value!({"cpu": "abc", "memory": true, "example.com/gpu": "2"});
        let read = Resources::read(&list);
        assert_eq!(
            (read.milli_cpu, read.memory, read.other("example.com/gpu")),
            (0, 0, 2)
        );
    }
}
