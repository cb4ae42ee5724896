//! A request's prompts as lists of tokens.

use weir_plan::PromptSink;
use weir_protocol::MediaKind;

/// An image, video or sound in a prompt.
#[derive(Clone, Debug)]
pub(super) struct Media {
    /// What engines call it.
    pub(super) id: String,
    /// Its first token.
    pub(super) offset: u32,
    /// Its tokens.
    pub(super) length: u32,
}

/// One prompt.
pub(super) struct Prompt<'a> {
    pub(super) tokens: &'a [u32],
    pub(super) media: &'a [Media],
}

/// Collects what is poured. Reuse it: it keeps its memory.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    tokens: Vec<u32>,
    /// Bytes of a token that is not whole yet.
    part: [u8; 4],
    part_len: usize,
    media: Vec<Media>,
    /// Where each closed prompt ends in `tokens` and in `media`.
    ends: Vec<(usize, usize)>,
    estimated: bool,
}

impl Tokens {
    pub(super) fn start(&mut self) {
        self.tokens.clear();
        self.media.clear();
        self.ends.clear();
        (self.part_len, self.estimated) = (0, false);
    }

    pub(super) fn finish(&mut self) {
        self.next_prompt();
    }

    /// Tokens of all prompts.
    pub(super) fn count(&self) -> u64 {
        self.tokens.len() as u64
    }

    /// Whether these are an engine's tokens, and no estimate.
    pub(super) fn is_exact(&self) -> bool {
        !self.estimated
    }

    /// The closed prompts.
    pub(super) fn prompts(&self) -> impl Iterator<Item = Prompt<'_>> {
        let starts = std::iter::once((0, 0)).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|((tokens, media), (tokens_end, media_end))| Prompt {
            tokens: &self.tokens[tokens..*tokens_end],
            media: &self.media[media..*media_end],
        })
    }
}

impl PromptSink for Tokens {
    fn bytes(&mut self, mut bytes: &[u8]) {
        while self.part_len > 0 {
            let Some((first, rest)) = bytes.split_first() else { return };
            self.part[self.part_len] = *first;
            self.part_len = (self.part_len + 1) % 4;
            bytes = rest;
            if self.part_len == 0 {
                self.tokens.push(u32::from_le_bytes(self.part));
            }
        }
        let (whole, rest) = bytes.as_chunks::<4>();
        self.tokens.extend(whole.iter().map(|token| u32::from_le_bytes(*token)));
        self.part[..rest.len()].copy_from_slice(rest);
        self.part_len = rest.len();
    }

    fn align(&mut self) {
        if self.part_len > 0 {
            self.bytes(&[0; 4][self.part_len..]);
        }
    }

    fn repeat(&mut self, token: u32, count: u32) {
        self.align();
        self.tokens.extend(std::iter::repeat_n(token, count as usize));
    }

    fn media(&mut self, _: MediaKind, hash: u64, tokens: u32) {
        let before = self.ends.last().map_or(0, |(tokens, _)| *tokens);
        let offset = u32::try_from(self.tokens.len() - before).unwrap_or(u32::MAX);
        self.media.push(Media { id: format!("{hash:x}"), offset, length: tokens });
    }

    fn next_prompt(&mut self) {
        self.align();
        self.ends.push((self.tokens.len(), self.media.len()));
    }

    fn estimated(&mut self) {
        self.estimated = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_out_however_they_are_cut() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..200 {
            let bytes: Vec<u8> = (0..random.usize(..50)).map(|_| random.u8(..)).collect();
            let mut tokens = Tokens::default();
            tokens.start();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(random.usize(0..=rest.len().min(7)));
                tokens.bytes(now);
                rest = later;
            }
            tokens.finish();
            let mut padded = bytes.clone();
            padded.resize(bytes.len().next_multiple_of(4), 0);
            let want: Vec<u32> = padded.as_chunks::<4>().0.iter().map(|token| u32::from_le_bytes(*token)).collect();
            let got: Vec<u32> = tokens.prompts().flat_map(|prompt| prompt.tokens.to_vec()).collect();
            assert_eq!(got, want);
        }
    }

    #[test]
    fn media_lie_in_their_own_prompt() {
        let mut tokens = Tokens::default();
        tokens.start();
        tokens.repeat(1, 5);
        tokens.next_prompt();
        tokens.bytes(&[1, 0, 0, 0, 2]);
        tokens.align();
        tokens.media(MediaKind::Image, 0x2a, 3);
        tokens.repeat(0x2a, 3);
        tokens.finish();
        let prompts: Vec<_> = tokens.prompts().collect();
        assert_eq!((prompts[0].tokens.len(), prompts[0].media.len()), (5, 0));
        assert_eq!(prompts[1].tokens, [1, 2, 0x2a, 0x2a, 0x2a]);
        let Media { id, offset, length } = &prompts[1].media[0];
        assert_eq!((id.as_str(), *offset, *length), ("2a", 2, 3));
        assert!(tokens.is_exact());
    }
}
