//! One worker: queue, running set, cache, and the clock that the caller turns.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use fastrand::Rng;

use crate::{
    config::EngineConfig,
    kv::{KvCache, KvChange},
    latency::LatencyModel,
    lora::LoraSlots,
    request::{AdapterId, Event, Micros, Refused, Request, RequestId, Timings},
};

mod delays;
mod sequence;
mod step;
#[cfg(test)]
mod tests;

use sequence::{Sequence, State};

/// Receives events.
type Sink<'a> = &'a mut dyn FnMut(Event);

/// A worker in virtual time. See the crate's first lines.
#[derive(Debug, Clone)]
pub struct Engine {
    config: EngineConfig,
    kv: Option<KvCache>,
    lora: LoraSlots,
    rng: Rng,
    clock_ns: u64,
    sequences: Vec<Sequence>,
    free: Vec<u32>,
    /// Accepted, still in the front end; in order of readiness.
    arriving: VecDeque<(u64, u32)>,
    waiting: VecDeque<u32>,
    /// In order of admission: the last one is preempted first.
    running: Vec<u32>,
    /// End of the step in flight (step model).
    step_ends_ns: Option<u64>,
    /// Next token of each running sequence (delay model); an entry whose ticket is old is void.
    timers: BinaryHeap<Reverse<(u64, u64, u32)>>,
    tickets: u64,
    /// A cancellation made room.
    retry_ns: Option<u64>,
    /// Waiting sequences with an adapter: the queue is searched only if there are any.
    waiting_adapters: u32,
    preemptions: u64,
    prefix_queries: u64,
    prefix_hits: u64,
}

/// What a worker would report of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Sequences that run.
    pub running: u32,
    /// Sequences in the waiting queue, without those in the front end.
    pub waiting: u32,
    /// Sequences still in the front end.
    pub arriving: u32,
    /// Cache blocks held by sequences.
    pub kv_pinned_blocks: u32,
    /// Cache blocks held by nobody that may still be hit.
    pub kv_unused_blocks: u32,
    /// Cache blocks; 0 where memory is not modelled.
    pub kv_blocks: u32,
    /// Preemptions since the start.
    pub preemptions: u64,
    /// Prompt tokens looked up in the cache since the start.
    pub prefix_query_tokens: u64,
    /// Prompt tokens found there.
    pub prefix_hit_tokens: u64,
}

impl Engine {
    /// A worker with an empty cache at time 0.
    pub fn new(config: EngineConfig, seed: u64) -> Self {
        let config = EngineConfig { max_num_seqs: config.max_num_seqs.max(1), ..config };
        Self {
            kv: config.kv.map(KvCache::new),
            lora: LoraSlots::new(config.max_loras),
            rng: Rng::with_seed(seed),
            clock_ns: 0,
            sequences: Vec::new(),
            free: Vec::new(),
            arriving: VecDeque::new(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            step_ends_ns: None,
            timers: BinaryHeap::new(),
            tickets: 0,
            retry_ns: None,
            waiting_adapters: 0,
            preemptions: 0,
            prefix_queries: 0,
            prefix_hits: 0,
            config,
        }
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Accepts a request at `now`. Nothing happens before the next [`Self::advance`].
    ///
    /// # Errors
    /// See [`Refused`]; the engine is unchanged.
    pub fn submit(&mut self, now: Micros, request: Request) -> Result<RequestId, Refused> {
        self.check(&request)?;
        let submitted_ns = now.saturating_mul(1000).max(self.clock_ns);
        let ready_ns = match &self.config.latency {
            LatencyModel::Step(model) => submitted_ns + model.front_end_ns,
            LatencyModel::Delays(_) => submitted_ns,
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.sequences.push(Sequence::default());
            self.sequences.len() as u32 - 1
        });
        let sequence = &mut self.sequences[index as usize];
        sequence.occupy(request, submitted_ns);
        let id = RequestId { index, generation: sequence.generation };
        self.arriving.push_back((ready_ns, index));
        Ok(id)
    }

    fn check(&self, request: &Request) -> Result<(), Refused> {
        if request.prompt_tokens == 0 || request.output_tokens == 0 {
            return Err(Refused::Empty);
        }
        let requested = u64::from(request.prompt_tokens) + u64::from(request.output_tokens);
        if requested > u64::from(self.config.max_model_len) {
            return Err(Refused::ContextLength { requested, limit: self.config.max_model_len });
        }
        if let Some(kv) = &self.kv {
            // The last token is never fed back, so its cache entry is never written.
            let needed = (requested - 1).div_ceil(u64::from(kv.block_size())) as u32;
            if needed > kv.capacity() {
                return Err(Refused::CacheTooSmall { needed, capacity: kv.capacity() });
            }
        }
        let queued = (self.waiting.len() + self.arriving.len()) as u64;
        let places = u64::from(self.config.max_num_seqs) - self.running.len() as u64;
        if queued >= u64::from(self.config.max_waiting) + places {
            return Err(Refused::QueueFull);
        }
        Ok(())
    }

    /// Forgets a request wherever it is and gives its place and blocks back. False if it has ended already.
    pub fn cancel(&mut self, now: Micros, id: RequestId) -> bool {
        self.clock_ns = self.clock_ns.max(now.saturating_mul(1000).min(self.next_event_ns().unwrap_or(u64::MAX)));
        let Some(sequence) = self.sequences.get(id.index()) else { return false };
        if sequence.generation != id.generation || sequence.state == State::Free {
            return false;
        }
        match sequence.state {
            State::Arriving => self.arriving.retain(|entry| entry.1 != id.index),
            State::Waiting => {
                self.waiting.retain(|&index| index != id.index);
                self.waiting_adapters -= u32::from(sequence.request.adapter != AdapterId::BASE);
            }
            State::Running => {
                self.running.retain(|&index| index != id.index);
                self.stop(id.index);
                // Somebody who waits may start; the next advance sees to it.
                self.retry_ns = (!self.waiting.is_empty()).then_some(self.clock_ns);
            }
            State::Free => {}
        }
        self.vacate(id.index);
        self.drop_void_timers();
        true
    }

    /// When something happens next, if nothing else is submitted; `None` while idle.
    pub fn next_event_at(&self) -> Option<Micros> {
        self.next_event_ns().map(to_micros)
    }

    fn next_event_ns(&self) -> Option<u64> {
        if self.step_ends_ns.is_some() {
            return self.step_ends_ns;
        }
        let arrival = self.arriving.front().map(|entry| entry.0);
        let timer = self.timers.peek().map(|Reverse(entry)| entry.0);
        [arrival, timer, self.retry_ns].into_iter().flatten().min()
    }

    /// Lets time pass up to and including `now` and reports what happened, in order.
    pub fn advance(&mut self, now: Micros, mut sink: impl FnMut(Event)) {
        let limit_ns = now.saturating_mul(1000);
        while let Some(at_ns) = self.next_event_ns().filter(|&at_ns| at_ns <= limit_ns) {
            self.clock_ns = self.clock_ns.max(at_ns);
            self.retry_ns = None;
            match self.config.latency {
                LatencyModel::Step(model) => self.step(&model, &mut sink),
                LatencyModel::Delays(_) => self.tick(&mut sink),
            }
        }
        self.clock_ns = self.clock_ns.max(limit_ns);
        self.receive();
    }

    /// The state of the worker, for its metrics. O(1).
    pub fn stats(&self) -> Stats {
        Stats {
            running: self.running.len() as u32,
            waiting: self.waiting.len() as u32,
            arriving: self.arriving.len() as u32,
            kv_pinned_blocks: self.kv.as_ref().map_or(0, KvCache::pinned),
            kv_unused_blocks: self.kv.as_ref().map_or(0, KvCache::unused),
            kv_blocks: self.kv.as_ref().map_or(0, KvCache::capacity),
            preemptions: self.preemptions,
            prefix_query_tokens: self.prefix_queries,
            prefix_hit_tokens: self.prefix_hits,
        }
    }

    /// Distinct adapters of the running and of the waiting sequences, sorted. O(running + waiting).
    pub fn adapters(&self) -> (Vec<AdapterId>, Vec<AdapterId>) {
        let distinct = |indices: &mut dyn Iterator<Item = u32>| {
            let mut ids: Vec<AdapterId> = indices.map(|index| self.sequences[index as usize].request.adapter).collect();
            ids.sort_unstable();
            ids.dedup();
            ids.retain(|&id| id != AdapterId::BASE);
            ids
        };
        (distinct(&mut self.running.iter().copied()), distinct(&mut self.waiting.iter().copied()))
    }

    /// From now on what happens to the cache is kept for [`Self::take_kv_changes`].
    pub fn record_kv_changes(&mut self) {
        if let Some(kv) = &mut self.kv {
            kv.record_changes();
        }
    }

    /// What happened to the cache since this was last asked for, in order.
    pub fn take_kv_changes(&mut self) -> Vec<KvChange> {
        self.kv.as_mut().map(KvCache::take_changes).unwrap_or_default()
    }

    /// Forgets all cached content.
    pub fn reset_prefix_cache(&mut self) {
        if let Some(kv) = &mut self.kv {
            kv.reset();
        }
    }

    /// Forgets an adapter's cached content and frees its place if nobody runs it.
    pub fn unload_adapter(&mut self, adapter: AdapterId) {
        self.lora.unload(adapter);
        if let Some(kv) = &mut self.kv {
            kv.forget(adapter);
        }
    }

    /// Moves what has left the front end into the waiting queue.
    fn receive(&mut self) {
        while let Some(&(ready_ns, index)) = self.arriving.front()
            && ready_ns <= self.clock_ns
        {
            self.arriving.pop_front();
            self.sequences[index as usize].state = State::Waiting;
            self.waiting_adapters += u32::from(self.sequences[index as usize].request.adapter != AdapterId::BASE);
            self.waiting.push_back(index);
        }
    }

    /// Starts the first waiting sequence whose adapter can run and whose first `budget` tokens find room in the cache.
    ///
    /// First come, first served, except that requests whose adapter has no place let others pass.
    fn admit_one(&mut self, budget: u32) -> Option<u32> {
        if self.running.len() >= self.config.max_num_seqs as usize {
            return None;
        }
        let position = if self.waiting_adapters == 0 {
            0
        } else {
            self.waiting.iter().position(|&index| self.lora.admits(self.sequences[index as usize].request.adapter))?
        };
        let index = *self.waiting.get(position)?;
        let sequence = &mut self.sequences[index as usize];
        let total = sequence.known_tokens();
        let mut cached = 0;
        if let Some(kv) = &mut self.kv {
            let size = kv.block_size();
            // The last known token is always computed: the next one comes out of it.
            let most = ((total - 1) / size) as usize;
            let blocks = &sequence.request.blocks;
            let run = kv.leading_run(sequence.request.adapter, &blocks[..most.min(blocks.len())]);
            cached = run as u32 * size;
            let start = if sequence.request.remote_prefill { total - 1 } else { cached };
            let chunk = (total - start).min(budget);
            let needed = (start + chunk).div_ceil(size) as usize;
            kv.open(sequence.request.adapter, &blocks[..run], needed, &mut sequence.held).ok()?;
            sequence.stored = run as u32;
        }
        sequence.computed = if sequence.request.remote_prefill { total - 1 } else { cached };
        sequence.state = State::Running;
        if !sequence.started {
            sequence.cached = cached;
            self.prefix_queries += u64::from(sequence.request.prompt_tokens);
            self.prefix_hits += u64::from(cached);
        }
        self.waiting.remove(position);
        self.waiting_adapters -= u32::from(sequence.request.adapter != AdapterId::BASE);
        self.lora.start(sequence.request.adapter);
        self.running.push(index);
        Some(index)
    }

    /// Reports the first time a sequence is scheduled.
    fn announce(&mut self, index: u32, sink: Sink<'_>) {
        let clock_ns = self.clock_ns;
        let sequence = &mut self.sequences[index as usize];
        if sequence.started {
            return;
        }
        sequence.started = true;
        sequence.scheduled_ns = clock_ns;
        sink(Event::Started {
            id: RequestId { index, generation: sequence.generation },
            at: to_micros(clock_ns),
            cached_tokens: sequence.cached,
            waited: to_micros(clock_ns) - to_micros(sequence.submitted_ns),
        });
    }

    /// Pins the blocks for the first `tokens` tokens of a running sequence; false if the cache is full.
    fn reserve(&mut self, index: u32, tokens: u32) -> bool {
        let Some(kv) = &mut self.kv else { return true };
        let sequence = &mut self.sequences[index as usize];
        let needed = tokens.div_ceil(kv.block_size()) as usize;
        let missing = needed.saturating_sub(sequence.held.len());
        missing == 0 || kv.grow(missing, &mut sequence.held).is_ok()
    }

    /// Makes the full blocks among the first `tokens` tokens findable.
    fn store(&mut self, index: u32, tokens: u32) {
        let Some(kv) = &mut self.kv else { return };
        let sequence = &mut self.sequences[index as usize];
        let full = (tokens / kv.block_size()).min(sequence.request.blocks.len() as u32);
        let Request { blocks, tokens, adapter, .. } = &sequence.request;
        let mut run = None;
        while sequence.stored < full {
            let at = sequence.stored as usize;
            sequence.stored += 1;
            match (kv.store(sequence.held[at], *adapter, blocks[at]), run) {
                (true, None) => run = Some(at),
                (false, Some(start)) => {
                    kv.note_stored(*adapter, blocks, start..at, tokens);
                    run = None;
                }
                _ => {}
            }
        }
        if let Some(start) = run {
            kv.note_stored(*adapter, blocks, start..full as usize, tokens);
        }
    }

    /// Takes the blocks of the sequence that was admitted last and puts it at the head of the queue. Returns it.
    fn preempt_last(&mut self, sink: Sink<'_>) -> Option<u32> {
        let index = self.running.pop()?;
        self.stop(index);
        let at = to_micros(self.clock_ns);
        let sequence = &mut self.sequences[index as usize];
        sequence.state = State::Waiting;
        sequence.computed = 0;
        sequence.stored = 0;
        sequence.scheduled = 0;
        sequence.preemptions += 1;
        self.waiting_adapters += u32::from(sequence.request.adapter != AdapterId::BASE);
        self.waiting.push_front(index);
        self.preemptions += 1;
        sink(Event::Preempted { id: RequestId { index, generation: sequence.generation }, at });
        Some(index)
    }

    /// Gives back what a running sequence holds.
    fn stop(&mut self, index: u32) {
        let sequence = &mut self.sequences[index as usize];
        sequence.ticket = 0;
        self.lora.stop(sequence.request.adapter);
        if let Some(kv) = &mut self.kv {
            kv.release(&mut sequence.held);
        }
    }

    fn vacate(&mut self, index: u32) {
        self.sequences[index as usize].vacate();
        self.free.push(index);
    }

    /// One more token; true if it was the last. The caller takes a finished sequence out of `running`.
    fn emit(&mut self, index: u32, sink: Sink<'_>) -> bool {
        let at = to_micros(self.clock_ns);
        let sequence = &mut self.sequences[index as usize];
        let id = RequestId { index, generation: sequence.generation };
        let before_ns = if sequence.generated == 0 { sequence.submitted_ns } else { sequence.last_token_ns };
        if sequence.generated == 0 {
            sequence.first_token_ns = self.clock_ns;
        }
        sequence.last_token_ns = self.clock_ns;
        sequence.generated += 1;
        sink(Event::Token { id, at, index: sequence.generated - 1, gap: at - to_micros(before_ns) });
        if sequence.generated < sequence.request.output_tokens {
            return false;
        }
        let timings = Timings {
            submitted: to_micros(sequence.submitted_ns),
            scheduled: to_micros(sequence.scheduled_ns),
            first_token: to_micros(sequence.first_token_ns),
            finished: at,
            prompt_tokens: sequence.request.prompt_tokens,
            output_tokens: sequence.generated,
            cached_tokens: sequence.cached,
            preemptions: sequence.preemptions,
        };
        self.stop(index);
        self.vacate(index);
        sink(Event::Finished { id, at, timings });
        true
    }
}

/// The first whole microsecond that is not before `ns`.
fn to_micros(ns: u64) -> Micros {
    ns.div_ceil(1000)
}
