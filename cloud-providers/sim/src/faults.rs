//! The script of faults: what fails, how often, and whether it fails before or after it took effect.

use cloud_api::CloudError;
use std::collections::VecDeque;
use std::time::Duration;

/// What can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation {
    CreateInstance,
    ReadInstance,
    TerminateInstance,
    RebootInstance,
    ChangeLoadBalancer,
    ReadLoadBalancer,
    ChangeVolume,
    ReadVolume,
    ChangeRoute,
    ReadRoute,
    Image,
    Identity,
}

/// One entry of the script. Entries of one operation are used up in the order in which they were added.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What it meets.
    pub operation: Operation,
    /// How many calls it meets.
    pub times: u32,
    /// How long those calls take, if not as long as usual.
    pub latency: Option<Duration>,
    /// What they answer; `None` only slows them down.
    pub error: Option<CloudError>,
    /// Whether the call takes effect all the same: the answer is lost, not the request.
    pub after_effect: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Script(VecDeque<Fault>);

impl Script {
    pub(crate) fn push(&mut self, fault: Fault) {
        if fault.times > 0 {
            self.0.push_back(fault);
        }
    }

    /// The latency and the error (with whether it comes after the effect) of the next call of this operation.
    pub(crate) fn next(&mut self, operation: Operation) -> (Option<Duration>, Option<(CloudError, bool)>) {
        let Some(at) = self.0.iter().position(|f| f.operation == operation) else {
            return (None, None);
        };
        let fault = &mut self.0[at];
        fault.times -= 1;
        let found = (
            fault.latency,
            fault.error.clone().map(|e| (e, fault.after_effect)),
        );
        if fault.times == 0 {
            self.0.remove(at);
        }
        found
    }
}
