//! Continuous batching: everything that runs advances in common steps, prompts in chunks.

use super::{Engine, Sink};
use crate::latency::StepModel;

impl Engine {
    /// Ends the step in flight, if any, and begins the next.
    pub(super) fn step(&mut self, model: &StepModel, sink: Sink<'_>) {
        if self.step_ends_ns.take().is_some() {
            self.end_step(sink);
        }
        self.receive();
        if !self.running.is_empty() || !self.waiting.is_empty() {
            self.begin_step(model, sink);
        }
    }

    fn end_step(&mut self, sink: Sink<'_>) {
        let mut running = std::mem::take(&mut self.running);
        running.retain(|&index| {
            let sequence = &mut self.sequences[index as usize];
            sequence.computed += std::mem::take(&mut sequence.scheduled);
            sequence.computed < sequence.known_tokens() || !self.emit(index, sink)
        });
        self.running = running;
    }

    fn begin_step(&mut self, model: &StepModel, sink: Sink<'_>) {
        let mut budget = model.max_batched_tokens.max(1);
        let mut load = StepLoad::default();
        let preemptions = self.preemptions;
        let mut at = 0;
        while at < self.running.len() && budget > 0 {
            let index = self.running[at];
            let sequence = &self.sequences[index as usize];
            let chunk = (sequence.known_tokens() - sequence.computed).min(budget);
            let tokens = sequence.computed + chunk;
            let fits = loop {
                if self.reserve(index, tokens) {
                    break true;
                }
                // The last one goes, which may be this one; an accepted request fits when it is alone.
                if self.preempt_last(sink) == Some(index) || self.running.is_empty() {
                    break false;
                }
            };
            if fits {
                self.schedule(index, chunk, &mut load);
                budget -= chunk;
                at += 1;
            }
        }
        if self.preemptions == preemptions {
            while budget > 0
                && let Some(index) = self.admit_one(budget)
            {
                let sequence = &self.sequences[index as usize];
                let chunk = (sequence.known_tokens() - sequence.computed).min(budget);
                self.schedule(index, chunk, &mut load);
                self.announce(index, sink);
                budget -= chunk;
            }
        }
        let step_ns = model.step_ns(load.decoding, load.prompt_tokens, load.context_tokens).max(1);
        self.step_ends_ns = Some(self.clock_ns + step_ns);
    }

    fn schedule(&mut self, index: u32, chunk: u32, load: &mut StepLoad) {
        let sequence = &mut self.sequences[index as usize];
        sequence.scheduled = chunk;
        let tokens = sequence.computed + chunk;
        if sequence.generated > 0 && chunk == 1 {
            load.decoding += 1;
            load.context_tokens += u64::from(tokens);
        } else {
            load.prompt_tokens += chunk;
        }
        self.store(index, tokens);
    }
}

/// What one step computes.
#[derive(Default)]
struct StepLoad {
    decoding: u32,
    prompt_tokens: u32,
    context_tokens: u64,
}
