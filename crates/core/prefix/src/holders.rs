//! Sets of small numbers: who holds a block.

/// A set of slots. The first 64 fit without memory of their own.
#[derive(Clone, Debug)]
pub(crate) enum Holders {
    Few(u64),
    /// As many words as the highest slot needs.
    Many(Box<[u64]>),
}

const _: () = assert!(size_of::<Holders>() <= 16);

impl Default for Holders {
    fn default() -> Self {
        Self::Few(0)
    }
}

impl Holders {
    /// The set as words of 64 slots, lowest first.
    pub(crate) fn words(&self) -> &[u64] {
        match self {
            Self::Few(word) => std::slice::from_ref(word),
            Self::Many(words) => words,
        }
    }

    /// Adds a slot. Returns by how many bytes the memory outside grew.
    pub(crate) fn insert(&mut self, slot: u32) -> usize {
        let (word, bit) = place(slot);
        let have = self.words().len();
        let mut grown = 0;
        if word >= have {
            let mut wider = vec![0; word + 1];
            wider[..have].copy_from_slice(self.words());
            grown = size_of_val(wider.as_slice()) - self.outside_bytes();
            *self = Self::Many(wider.into_boxed_slice());
        }
        match self {
            Self::Few(only) => *only |= bit,
            Self::Many(words) => words[word] |= bit,
        }
        grown
    }

    /// Removes a slot. Returns whether nobody is left.
    pub(crate) fn remove(&mut self, slot: u32) -> bool {
        let (word, bit) = place(slot);
        match self {
            Self::Few(only) if word == 0 => *only &= !bit,
            Self::Few(_) => {}
            Self::Many(words) => {
                if let Some(found) = words.get_mut(word) {
                    *found &= !bit;
                }
            }
        }
        self.words().iter().all(|word| *word == 0)
    }

    /// Memory outside the value itself.
    pub(crate) fn outside_bytes(&self) -> usize {
        match self {
            Self::Few(_) => 0,
            Self::Many(words) => size_of_val(&**words),
        }
    }
}

/// Word and bit of a slot.
pub(crate) fn place(slot: u32) -> (usize, u64) {
    ((slot / 64) as usize, 1 << (slot % 64))
}
