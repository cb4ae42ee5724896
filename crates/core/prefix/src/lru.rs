//! Blocks by how recently they were used.

use crate::identity::HashTable;

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    hash: u64,
    newer: u32,
    older: u32,
}

/// Blocks by how recently they were used. All operations O(1).
#[derive(Debug)]
pub struct BlockLru {
    places: HashTable<u64, u32>,
    nodes: Vec<Node>,
    newest: u32,
    oldest: u32,
    /// First of the unused nodes, linked by `older`.
    free: u32,
}

impl Default for BlockLru {
    fn default() -> Self {
        Self { places: HashTable::default(), nodes: Vec::new(), newest: NONE, oldest: NONE, free: NONE }
    }
}

impl BlockLru {
    /// Bytes that one block costs: its node, its place in the table, and the room that growing tables leave.
    pub(crate) const BLOCK_BYTES: usize = size_of::<Node>() + (size_of::<(u64, u32)>() + 1) * 3 / 2;

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether a block is there.
    pub fn contains(&self, hash: u64) -> bool {
        self.places.contains_key(&hash)
    }

    /// Makes a block the most recently used one. Returns whether it is new.
    pub fn touch(&mut self, hash: u64) -> bool {
        if let Some(&place) = self.places.get(&hash) {
            if self.newest != place {
                self.unlink(place);
                self.link_newest(place);
            }
            return false;
        }
        let node = Node { hash, newer: NONE, older: NONE };
        let place = if self.free == NONE {
            self.nodes.push(node);
            (self.nodes.len() - 1) as u32
        } else {
            let place = self.free;
            self.free = self.nodes[place as usize].older;
            self.nodes[place as usize] = node;
            place
        };
        self.places.insert(hash, place);
        self.link_newest(place);
        true
    }

    /// Forgets the least recently used block.
    pub fn pop_oldest(&mut self) -> Option<u64> {
        let place = self.oldest;
        let hash = self.nodes.get(place as usize)?.hash;
        self.unlink(place);
        self.nodes[place as usize].older = self.free;
        self.free = place;
        self.places.remove(&hash);
        Some(hash)
    }

    fn unlink(&mut self, place: u32) {
        let Node { newer, older, .. } = self.nodes[place as usize];
        match self.nodes.get_mut(newer as usize) {
            Some(node) => node.older = older,
            None => self.newest = older,
        }
        match self.nodes.get_mut(older as usize) {
            Some(node) => node.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, place: u32) {
        let before = std::mem::replace(&mut self.newest, place);
        let node = &mut self.nodes[place as usize];
        node.newer = NONE;
        node.older = before;
        match self.nodes.get_mut(before as usize) {
            Some(old) => old.newer = place,
            None => self.oldest = place,
        }
    }
}
