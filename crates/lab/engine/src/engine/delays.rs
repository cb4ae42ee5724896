//! Sequences that wait out their own delays (llm-d's simulator): no steps, load only through the load factor.

use std::cmp::Reverse;

use super::{Engine, Sink, sequence::State};
use crate::latency::{Delays, LatencyModel, load_factor};

impl Engine {
    /// Handles what is due at the clock: arrivals, or the first timer.
    pub(super) fn tick(&mut self, sink: Sink<'_>) {
        self.receive();
        self.start_waiting(sink);
        let due = self.timers.peek().is_some_and(|Reverse(entry)| entry.0 <= self.clock_ns);
        if due && let Some(Reverse((_, ticket, index))) = self.timers.pop() {
            if self.sequences[index as usize].ticket == ticket {
                self.produce(index, sink);
                self.start_waiting(sink);
            }
            self.drop_void_timers();
        }
    }

    fn start_waiting(&mut self, sink: Sink<'_>) {
        let Some(delays) = self.delays() else { return };
        while let Some(index) = self.admit_one(u32::MAX) {
            self.announce(index, sink);
            let sequence = &self.sequences[index as usize];
            let (total, cached, remote) = (sequence.known_tokens(), sequence.computed, sequence.request.remote_prefill);
            let load = self.load(&delays);
            let delay_ns = delays.first_token_ns(total, cached, remote, load, &mut self.rng);
            self.store(index, total);
            self.arm(index, delay_ns);
        }
    }

    fn produce(&mut self, index: u32, sink: Sink<'_>) {
        let Some(delays) = self.delays() else { return };
        let sequence = &mut self.sequences[index as usize];
        sequence.computed = sequence.known_tokens();
        if self.emit(index, sink) {
            self.running.retain(|&running| running != index);
            return;
        }
        let tokens = self.sequences[index as usize].known_tokens();
        while !self.reserve(index, tokens) {
            if self.preempt_last(sink) == Some(index) || self.running.is_empty() {
                return;
            }
        }
        self.store(index, tokens);
        let load = self.load(&delays);
        let delay_ns = delays.next_token_ns(load, &mut self.rng);
        self.arm(index, delay_ns);
    }

    fn arm(&mut self, index: u32, delay_ns: u64) {
        self.tickets += 1;
        self.sequences[index as usize].ticket = self.tickets;
        self.timers.push(Reverse((self.clock_ns + delay_ns, self.tickets, index)));
    }

    /// Timers of sequences that were cancelled or preempted must not wake anybody.
    pub(super) fn drop_void_timers(&mut self) {
        while let Some(&Reverse((_, ticket, index))) = self.timers.peek() {
            let sequence = &self.sequences[index as usize];
            if sequence.state == State::Running && sequence.ticket == ticket {
                break;
            }
            self.timers.pop();
        }
    }

    fn load(&self, delays: &Delays) -> f64 {
        load_factor(delays.factor_under_load, self.running.len() as u32, self.config.max_num_seqs)
    }

    fn delays(&self) -> Option<Delays> {
        match self.config.latency {
            LatencyModel::Delays(delays) => Some(delays),
            LatencyModel::Step(_) => None,
        }
    }
}
