//! When one endpoint is due.

use std::time::Duration;

use weir_pool::{Endpoint, Time};

use crate::ScrapeOptions;

/// Failures in a row after which an endpoint is asked at the idle pace.
const FAILURES_TO_SLOW_DOWN: u32 = 3;

/// What decides how urgent an endpoint is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    pub(crate) total: u64,
    pub(crate) foreign: u32,
}

impl Load {
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        Self {
            requests: endpoint.ledger.requests(),
            total: endpoint.ledger.total_requests(),
            foreign: endpoint.engine.foreign_requests(),
        }
    }
}

/// When an endpoint was asked, and what happened then.
///
/// Endpoints are asked on a grid, each with a phase of its own, so that their scrapes spread evenly over the interval.
#[derive(Debug)]
pub(crate) struct Cadence {
    phase: Duration,
    last: Option<Time>,
    /// Requests ever charged, when it was last asked.
    seen: u64,
    /// It was last asked while nothing of ours was in flight: its numbers are those of an idle engine.
    settled: bool,
    failures: u32,
    probing: bool,
}

impl Cadence {
    /// `number` is any number; consecutive ones are far apart in phase.
    pub(crate) fn new(number: u64) -> Self {
        // Multiples of the golden ratio, modulo one second, spread evenly however many there are.
        let phase = Duration::from_micros(number.wrapping_mul(618_034) % 1_000_000);
        Self { phase, last: None, seen: 0, settled: false, failures: 0, probing: false }
    }

    /// Whether the endpoint deserves the short interval.
    pub(crate) fn busy(&self, options: &ScrapeOptions, load: Load) -> bool {
        let failing = self.failures > 0;
        if self.failures >= FAILURES_TO_SLOW_DOWN || (self.probing && !failing) {
            return false;
        }
        failing || !options.adaptive || !self.settled || load.requests > 0 || load.foreign > 0 || load.total != self.seen
    }

    pub(crate) fn due(&self, busy: bool, options: &ScrapeOptions, now: Time) -> bool {
        let Some(last) = self.last else { return true };
        let period = if busy { options.interval } else { options.idle_interval.max(options.interval) };
        let period = u64::try_from(period.as_micros()).unwrap_or(u64::MAX).max(1);
        let slot = |at: Time| (at + self.phase).as_micros() / period;
        slot(now) > slot(last)
    }

    pub(crate) fn started(&mut self, load: Load, now: Time) {
        self.last = Some(now);
        self.seen = load.total;
        self.settled = load.requests == 0;
    }

    /// `probing`: it has no metrics page to read.
    pub(crate) fn finished(&mut self, answered: bool, probing: bool) {
        self.failures = if answered { 0 } else { self.failures.saturating_add(1) };
        self.probing = probing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Load = Load { requests: 0, total: 0, foreign: 0 };

    /// How often it is asked during `ms`, on a tick of 10 ms, and the longest pause.
    fn run(cadence: &mut Cadence, options: &ScrapeOptions, load: Load, from_ms: u64, ms: u64) -> (u32, u64) {
        let (mut scrapes, mut last, mut pause) = (0, from_ms, 0);
        for at in (from_ms..from_ms + ms).step_by(10) {
            let now = Time::from_millis(at);
            if cadence.due(cadence.busy(options, load), options, now) {
                cadence.started(load, now);
                cadence.finished(true, false);
                scrapes += 1;
                pause = pause.max(at - last);
                last = at;
            }
        }
        (scrapes, pause)
    }

    #[test]
    fn a_fixed_pace_does_not_look_at_traffic() {
        let options = ScrapeOptions { adaptive: false, ..ScrapeOptions::default() };
        for number in 0..50 {
            let (scrapes, pause) = run(&mut Cadence::new(number), &options, IDLE, 0, 2000);
            assert!((40..=41).contains(&scrapes) && pause <= 60, "{scrapes} {pause}");
        }
    }

    #[test]
    fn an_idle_endpoint_is_asked_each_second() {
        let mut cadence = Cadence::new(3);
        let options = ScrapeOptions::default();
        let (scrapes, pause) = run(&mut cadence, &options, IDLE, 0, 10_000);
        assert!((10..=12).contains(&scrapes) && pause <= 1000, "{scrapes} {pause}");
        let busy = Load { requests: 1, total: 1, foreign: 0 };
        let (scrapes, pause) = run(&mut cadence, &options, busy, 10_000, 1000);
        assert!((19..=21).contains(&scrapes) && pause <= 60, "{scrapes} {pause}");
    }

    #[test]
    fn an_endpoint_is_asked_once_more_after_its_last_request() {
        let mut cadence = Cadence::new(0);
        let options = ScrapeOptions::default();
        run(&mut cadence, &options, IDLE, 0, 100);
        let busy = Load { requests: 1, total: 1, foreign: 0 };
        run(&mut cadence, &options, busy, 100, 100);
        let after = Load { requests: 0, ..busy };
        assert!(cadence.busy(&options, after));
        assert_eq!(run(&mut cadence, &options, after, 200, 500).0, 1);
        assert!(!cadence.busy(&options, after));
        // A request that came and went between two scrapes counts too.
        assert!(cadence.busy(&options, Load { total: 2, ..after }));
        assert!(cadence.busy(&options, Load { foreign: 1, ..after }));
    }

    #[test]
    fn failures_are_confirmed_quickly_and_then_asked_about_slowly() {
        let mut cadence = Cadence::new(0);
        let options = ScrapeOptions { adaptive: false, ..ScrapeOptions::default() };
        run(&mut cadence, &ScrapeOptions::default(), IDLE, 0, 100);
        for _ in 0..2 {
            cadence.finished(false, false);
            assert!(cadence.busy(&options, IDLE) && cadence.busy(&ScrapeOptions::default(), IDLE));
        }
        cadence.finished(false, false);
        assert!(!cadence.busy(&options, Load { requests: 9, ..IDLE }));
        cadence.finished(true, false);
        assert!(cadence.busy(&options, IDLE));
    }

    #[test]
    fn phases_spread_over_short_and_long_intervals() {
        for count in [5_u64, 20, 100] {
            for period_ms in [50, 1000] {
                let mut slots = [0; 5];
                for number in 0..count {
                    slots[(Cadence::new(number).phase.as_millis() % period_ms * 5 / period_ms) as usize] += 1;
                }
                assert!(slots.iter().all(|slot| *slot <= 2 * count / 5), "{count} {period_ms} {slots:?}");
            }
        }
    }
}
