//! The last decisions, kept in a ring of bounded size.

use std::{sync::Arc, time::SystemTime};

use parking_lot::Mutex;
use weir_plan::Plan;
use weir_pool::{EndpointState, Snapshot, Time};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionLogConfig {
    /// Bytes for all records together; 0 keeps none.
    pub max_bytes: usize,
    /// Candidates kept of each decision, best first.
    pub candidates: usize,
}

impl Default for DecisionLogConfig {
    fn default() -> Self {
        Self { max_bytes: 8 << 20, candidates: 16 }
    }
}

/// Bytes of a request id that are kept.
const ID_BYTES: usize = 128;
/// Scorers per profile that a record is sized for; one with more keeps fewer candidates.
const SCORERS: usize = 8;

/// One candidate of one decision.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Candidate {
    /// Place in the snapshot.
    pub(crate) index: u32,
    /// Place among the candidates that the scorers saw.
    pub(crate) row: u32,
    pub(crate) total: f64,
    pub(crate) matched_blocks: u32,
    pub(crate) state: EndpointState,
}

/// One decision. Its buffers are reused when the ring comes round.
#[derive(Debug, Default)]
pub(crate) struct Record {
    id: Vec<u8>,
    pub(crate) at: Option<SystemTime>,
    pub(crate) context: Option<Context>,
    pub(crate) attempt: u32,
    pub(crate) decided: Time,
    pub(crate) decision_us: u32,
    pub(crate) known: u32,
    pub(crate) candidates_seen: u32,
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) total_blocks: u32,
    pub(crate) block_size_tokens: u32,
    pub(crate) chosen: u32,
    pub(crate) candidates: Vec<Candidate>,
    /// Clamped scores, scorer by scorer, `candidates.len()` each.
    pub(crate) scores: Vec<f64>,
    pub(crate) profile: u32,
    pub(crate) priority: i32,
    /// The objective that gave the priority.
    pub(crate) objective: Option<Arc<str>>,
    /// The model that was served instead of the one that the request names, and the rule that chose it.
    pub(crate) served: Option<Arc<str>>,
    pub(crate) rule: Option<Arc<str>>,
    pub(crate) outcome: Option<Outcome>,
}

/// What turns a record's numbers into names.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) pool: Arc<str>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) snapshot: Arc<Snapshot>,
}

/// How the request that was decided on ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) status: u16,
    pub(crate) reason: Option<&'static str>,
    pub(crate) first_byte_us: Option<u64>,
    pub(crate) total_us: u64,
}

impl Record {
    pub(crate) fn id(&self) -> &[u8] {
        &self.id
    }

    pub(crate) fn begin(&mut self, id: &str) {
        self.id.clear();
        self.id.extend_from_slice(&id.as_bytes()[..id.len().min(ID_BYTES)]);
        self.candidates.clear();
        self.scores.clear();
        self.outcome = None;
    }
}

#[derive(Debug)]
struct Ring {
    records: Vec<Record>,
    /// Decisions ever written; the next goes to `written % slots`.
    written: u64,
}

/// A ring of decisions; old ones make room for new ones.
#[derive(Debug)]
pub struct DecisionLog {
    ring: Mutex<Ring>,
    slots: u64,
    candidates: usize,
}

impl DecisionLog {
    /// A log that never holds more than `config.max_bytes`.
    pub fn new(config: DecisionLogConfig) -> Self {
        let candidates = config.candidates.max(1);
        let each = Self::record_bytes(candidates);
        let slots = (config.max_bytes / each) as u64;
        Self { ring: Mutex::new(Ring { records: Vec::new(), written: 0 }), slots, candidates }
    }

    /// Bytes of a record that is full.
    fn record_bytes(candidates: usize) -> usize {
        size_of::<Record>() + ID_BYTES + candidates * (size_of::<Candidate>() + SCORERS * size_of::<f64>())
    }

    /// How many decisions it can hold.
    pub fn capacity(&self) -> u64 {
        self.slots
    }

    /// How many candidates of each it keeps.
    pub fn candidates(&self) -> usize {
        self.candidates
    }

    /// How many candidates a record keeps if there are `scorers` scorers, so that it stays within its size.
    pub(crate) fn candidates_for(&self, scorers: usize) -> usize {
        let budget = self.candidates * (size_of::<Candidate>() + SCORERS * size_of::<f64>());
        (budget / (size_of::<Candidate>() + scorers * size_of::<f64>())).clamp(1, self.candidates)
    }

    /// Writes one decision; returns its number, if decisions are kept.
    pub(crate) fn write(&self, id: &str, fill: impl FnOnce(&mut Record)) -> Option<u64> {
        if self.slots == 0 {
            return None;
        }
        let mut ring = self.ring.lock();
        let number = ring.written;
        ring.written += 1;
        let slot = (number % self.slots) as usize;
        if slot == ring.records.len() {
            ring.records.push(Record::default());
        }
        let record = &mut ring.records[slot];
        record.begin(id);
        fill(record);
        Some(number)
    }

    /// Notes how a decided request ended, if its record is still there.
    pub(crate) fn note(&self, number: u64, outcome: Outcome) {
        let mut ring = self.ring.lock();
        if ring.written.saturating_sub(number) > self.slots {
            return;
        }
        let slot = (number % self.slots) as usize;
        if let Some(record) = ring.records.get_mut(slot) {
            record.outcome = Some(outcome);
        }
    }

    /// Shows each record that is kept, in no order.
    pub(crate) fn for_each(&self, see: impl FnMut(&Record)) {
        self.ring.lock().records.iter().for_each(see);
    }

    /// Whether a record is one of the request's.
    pub(crate) fn is_of(record: &Record, id: &str) -> bool {
        record.id() == &id.as_bytes()[..id.len().min(ID_BYTES)]
    }

    /// Ids of the newest decisions, newest first.
    pub fn recent(&self, count: usize) -> Vec<String> {
        let ring = self.ring.lock();
        let kept = ring.written.min(self.slots);
        (0..kept.min(count as u64))
            .map(|back| {
                let slot = ((ring.written - 1 - back) % self.slots) as usize;
                String::from_utf8_lossy(ring.records[slot].id()).into_owned()
            })
            .collect()
    }

    /// Bytes held now, and the limit.
    pub fn used_bytes(&self) -> (usize, usize) {
        let each = Self::record_bytes(self.candidates);
        (self.ring.lock().records.len() * each, self.slots as usize * each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_newest_within_its_bytes() {
        let log = DecisionLog::new(DecisionLogConfig { max_bytes: 64 << 10, candidates: 4 });
        let slots = log.capacity();
        assert!(slots > 10);
        for number in 0..slots * 2 + 3 {
            log.write(&format!("r{number}"), |record| record.at = Some(SystemTime::UNIX_EPOCH));
        }
        let (used, limit) = log.used_bytes();
        assert!(used <= limit && limit <= 64 << 10);
        let recent = log.recent(usize::MAX);
        assert_eq!(recent.len() as u64, slots);
        assert_eq!(recent[0], format!("r{}", slots * 2 + 2));
    }

    #[test]
    fn a_late_outcome_does_not_land_in_another_request() {
        let log = DecisionLog::new(DecisionLogConfig { max_bytes: 8 << 10, candidates: 1 });
        let first = log.write("first", |_| {}).unwrap();
        for _ in 0..log.capacity() {
            log.write("other", |_| {});
        }
        log.note(first, Outcome { status: 200, reason: None, first_byte_us: None, total_us: 1 });
        assert!(log.ring.lock().records.iter().all(|record| record.outcome.is_none()));
    }

    #[test]
    fn no_bytes_means_no_log() {
        let log = DecisionLog::new(DecisionLogConfig { max_bytes: 0, candidates: 16 });
        assert_eq!(log.write("a", |_| {}), None);
        assert!(log.recent(9).is_empty());
    }
}
