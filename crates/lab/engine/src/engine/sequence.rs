//! What the engine knows of one request.

use crate::{kv::BlockId, request::Request};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum State {
    #[default]
    Free,
    Arriving,
    Waiting,
    Running,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Sequence {
    pub(super) generation: u32,
    pub(super) state: State,
    pub(super) request: Request,
    pub(super) held: Vec<BlockId>,
    /// Tokens whose cache entries exist.
    pub(super) computed: u32,
    /// Tokens that the step in flight computes.
    pub(super) scheduled: u32,
    /// Leading blocks that were made findable.
    pub(super) stored: u32,
    pub(super) generated: u32,
    pub(super) cached: u32,
    pub(super) preemptions: u32,
    /// Names its entry among the timers; 0 for none.
    pub(super) ticket: u64,
    pub(super) started: bool,
    pub(super) submitted_ns: u64,
    pub(super) scheduled_ns: u64,
    pub(super) first_token_ns: u64,
    pub(super) last_token_ns: u64,
}

impl Sequence {
    pub(super) fn occupy(&mut self, request: Request, submitted_ns: u64) {
        *self = Self {
            generation: self.generation,
            state: State::Arriving,
            request,
            held: std::mem::take(&mut self.held),
            submitted_ns,
            ..Self::default()
        };
    }

    /// Old ids stop naming this place.
    pub(super) fn vacate(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.state = State::Free;
        self.ticket = 0;
        self.request.blocks = Vec::new();
    }

    /// Prompt and what was generated so far.
    pub(super) fn known_tokens(&self) -> u32 {
        self.request.prompt_tokens + self.generated
    }
}
