//! What a block's content is besides its tokens.

/// One thing that belongs to a block besides its tokens, by what it is. Engines write them into one list without saying which is
/// which; kept apart here, an adapter's name is never taken for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtraKey<'a> {
    /// Name of the LoRA adapter that computed the block.
    Adapter(&'a str),
    /// Identity of an image, video or sound that reaches into the block.
    Media(&'a str),
    /// The request's cache salt; on the first block only.
    Salt(&'a str),
    /// Content that is neither tokens nor named, such as embeddings given instead of a prompt.
    Opaque(&'a [u8]),
}

/// The extra keys of a run of blocks, by block.
#[derive(Clone, Debug, Default)]
pub struct Extras<'a> {
    /// In order of blocks; those of one block in the order in which they are hashed.
    keys: Vec<(u32, ExtraKey<'a>)>,
}

impl<'a> Extras<'a> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Forgets all of them and keeps the memory.
    pub fn clear(&mut self) {
        self.keys.clear();
    }

    /// One more, behind those that its block has.
    pub fn push(&mut self, block: u32, key: ExtraKey<'a>) {
        let place = self.keys.partition_point(|(at, _)| *at <= block);
        self.keys.insert(place, (block, key));
    }

    /// One more, unless its block has it.
    pub fn push_new(&mut self, block: u32, key: ExtraKey<'a>) {
        if !self.of(block).any(|one| one == key) {
            self.push(block, key);
        }
    }

    /// An image, video or sound that takes the tokens `offset..offset + length`: it belongs to every block of `block_tokens` that
    /// it reaches into. Add them in order of their offsets, and the salt last.
    pub fn push_media(&mut self, id: &'a str, offset: u32, length: u32, block_tokens: u32) {
        if length == 0 || block_tokens == 0 {
            return;
        }
        let last = offset.saturating_add(length - 1) / block_tokens;
        for block in offset / block_tokens..=last {
            self.push(block, ExtraKey::Media(id));
        }
    }

    /// The keys of a block.
    pub fn of(&self, block: u32) -> impl Iterator<Item = ExtraKey<'a>> + Clone + '_ {
        let start = self.keys.partition_point(|(at, _)| *at < block);
        self.keys[start..].iter().take_while(move |(at, _)| *at == block).map(|(_, key)| *key)
    }

    /// The keys with their blocks.
    pub fn iter(&self) -> impl Iterator<Item = (u32, ExtraKey<'a>)> + '_ {
        self.keys.iter().copied()
    }

    /// The same for blocks of another size: `from` blocks cover the tokens of `to` blocks. Where several become one, its keys are
    /// those of all of them, each once; where one becomes several, each of them has its keys.
    pub fn realigned(&self, from: usize, to: usize) -> Self {
        let mut out = Self::default();
        if from == to {
            out.keys.clone_from(&self.keys);
            return out;
        }
        for &(block, key) in &self.keys {
            let block = block as usize;
            if from == 0 || to == 0 || block >= from {
                continue;
            }
            // The first block in which `block` has a part, and the first in which it has none any more.
            let (first, end) = (block * to / from, ((block + 1) * to).div_ceil(from));
            for at in first..end.max(first + 1).min(to) {
                out.push_new(at as u32, key);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids<'a>(extras: &Extras<'a>, blocks: u32) -> Vec<Vec<&'a str>> {
        let id = |key| match key {
            ExtraKey::Media(id) | ExtraKey::Salt(id) | ExtraKey::Adapter(id) => id,
            ExtraKey::Opaque(_) => "?",
        };
        (0..blocks).map(|block| extras.of(block).map(id).collect()).collect()
    }

    #[test]
    fn media_belong_to_the_blocks_that_they_reach_into() {
        let mut one = Extras::default();
        one.push_media("a", 0, 48, 16);
        assert_eq!(ids(&one, 4), [vec!["a"], vec!["a"], vec!["a"], vec![]]);
        let mut two = Extras::default();
        two.push_media("a", 0, 32, 16);
        two.push_media("b", 48, 32, 16);
        assert_eq!(ids(&two, 5), [vec!["a"], vec!["a"], vec![], vec!["b"], vec!["b"]]);
        let mut border = Extras::default();
        border.push_media("a", 15, 2, 16);
        border.push_media("b", 16, 1, 16);
        border.push(0, ExtraKey::Salt("s"));
        assert_eq!(ids(&border, 3), [vec!["a", "s"], vec!["a", "b"], vec![]]);
        border.push_media("none", 20, 0, 16);
        border.push_media("end", u32::MAX, 5, 1 << 31);
        assert_eq!(ids(&border, 3), [vec!["a", "s"], vec!["a", "b", "end"], vec![]]);
    }

    #[test]
    fn blocks_of_another_size() {
        let mut four = Extras::default();
        four.push(0, ExtraKey::Media("a"));
        four.push(1, ExtraKey::Media("a"));
        four.push(3, ExtraKey::Media("b"));
        assert_eq!(ids(&four.realigned(4, 1), 1), [vec!["a", "b"]]);
        assert_eq!(ids(&four.realigned(4, 2), 2), [vec!["a"], vec!["b"]]);
        assert_eq!(ids(&four.realigned(4, 8), 8)[..4], [vec!["a"], vec!["a"], vec!["a"], vec!["a"]]);
        assert_eq!(ids(&four.realigned(4, 8), 8)[4..], [vec![], vec![], vec!["b"], vec!["b"]]);
        assert_eq!(ids(&four.realigned(4, 4), 4), ids(&four, 4));
        assert!(four.realigned(4, 0).is_empty());
        // Borders that do not meet: 2 blocks of 3 over 3 blocks of 2.
        let mut uneven = Extras::default();
        uneven.push(0, ExtraKey::Media("a"));
        assert_eq!(ids(&uneven.realigned(2, 3), 3), [vec!["a"], vec!["a"], vec![]]);
    }
}
