//! What this process has in flight on one endpoint, tied to the streams themselves.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Requests and tokens in flight. Grows by [`Ledger::charge`], shrinks when the [`Charge`] goes, however it goes.
#[derive(Debug, Default)]
pub struct Ledger {
    requests: AtomicU64,
    tokens: AtomicU64,
    total_requests: AtomicU64,
}

impl Ledger {
    /// Requests in flight.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Tokens in flight: prompt tokens still to be computed, and output tokens if the plan estimates them.
    pub fn tokens(&self) -> u64 {
        self.tokens.load(Relaxed)
    }

    /// Requests ever charged.
    pub fn total_requests(&self) -> u64 {
        self.total_requests.load(Relaxed)
    }

    /// Enters one request: `prompt_tokens` until its first response byte, `output_tokens` until its end.
    pub fn charge(self: &Arc<Self>, prompt_tokens: u64, output_tokens: u64) -> Charge {
        self.requests.fetch_add(1, Relaxed);
        self.total_requests.fetch_add(1, Relaxed);
        self.tokens.fetch_add(prompt_tokens + output_tokens, Relaxed);
        Charge { ledger: Arc::clone(self), prompt_tokens, output_tokens }
    }
}

/// One request's entry in a [`Ledger`]; dropping it takes the entry out.
#[derive(Debug)]
pub struct Charge {
    ledger: Arc<Ledger>,
    prompt_tokens: u64,
    output_tokens: u64,
}

impl Charge {
    /// The prompt has been computed: the first byte of the response is here.
    pub fn prompt_done(&mut self) {
        let tokens = std::mem::take(&mut self.prompt_tokens);
        if tokens > 0 {
            self.ledger.tokens.fetch_sub(tokens, Relaxed);
        }
    }

    /// The request turned out to be elsewhere.
    pub fn move_to(&mut self, ledger: &Arc<Ledger>) {
        *self = ledger.charge(self.prompt_tokens, self.output_tokens);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.ledger.tokens.fetch_sub(self.prompt_tokens + self.output_tokens, Relaxed);
        self.ledger.requests.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_can_move() {
        let (first, second) = (Arc::new(Ledger::default()), Arc::new(Ledger::default()));
        let mut charge = first.charge(100, 50);
        charge.move_to(&second);
        assert_eq!((first.requests(), first.tokens(), second.requests(), second.tokens()), (0, 0, 1, 150));
        charge.prompt_done();
        drop(charge);
        assert_eq!((second.requests(), second.tokens()), (0, 0));
    }

    #[test]
    fn every_way_to_end_leaves_nothing() {
        let ledger = Arc::new(Ledger::default());
        let mut answered = ledger.charge(100, 50);
        let dropped = ledger.charge(10, 0);
        assert_eq!((ledger.requests(), ledger.tokens()), (2, 160));
        answered.prompt_done();
        answered.prompt_done();
        assert_eq!(ledger.tokens(), 60);
        drop(dropped);
        drop(answered);
        assert_eq!((ledger.requests(), ledger.tokens(), ledger.total_requests()), (0, 0, 2));
    }
}
