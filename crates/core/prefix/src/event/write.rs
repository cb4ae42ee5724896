//! Writes events as engines do: for simulated ones, and for tests.

/// How a batch and its events are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventLayout {
    /// Lists throughout.
    #[default]
    Lists,
    /// Events are maps, in a batch that is a list.
    MapEvents,
    /// Maps throughout.
    Maps,
}

/// Blocks to be announced.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoredBlocks<'a> {
    /// The engine's names.
    pub hashes: &'a [u64],
    /// The engine's name of the block before them.
    pub parent: Option<u64>,
    /// Tokens of all blocks.
    pub tokens: &'a [u32],
    /// Tokens in each block.
    pub block_tokens: u32,
    /// Number of the adapter.
    pub lora_id: Option<u64>,
    /// Name of the adapter.
    pub lora_name: Option<&'a str>,
    /// Where they lie.
    pub medium: &'a str,
    /// Salt of the request, for the first block.
    pub cache_salt: Option<&'a str>,
    /// The group of layers, where there are several, with their kind and window.
    pub group: Option<(u32, &'a str, Option<u32>)>,
}

/// Collects the events of one batch.
#[derive(Clone, Debug, Default)]
pub struct BatchWriter {
    layout: EventLayout,
    events: Vec<u8>,
    count: u32,
}

impl BatchWriter {
    /// An empty batch.
    pub fn new(layout: EventLayout) -> Self {
        Self { layout, ..Self::default() }
    }

    /// Events so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Blocks can be found now.
    pub fn stored(&mut self, blocks: &StoredBlocks<'_>) {
        self.count += 1;
        let maps = self.layout != EventLayout::Lists;
        let out = &mut self.events;
        let grouped = blocks.group.is_some();
        if !maps {
            array(out, if grouped { 12 } else { 9 });
        } else {
            let optional = [blocks.lora_id.is_some(), blocks.lora_name.is_some(), blocks.cache_salt.is_some()];
            let more = optional.into_iter().filter(|some| *some).count() + if grouped { 3 } else { 0 };
            map(out, 6 + more as u32);
        }
        let key = |out: &mut Vec<u8>, name: &str| {
            if maps {
                text(out, name);
            }
        };
        key(out, "type");
        text(out, "BlockStored");
        key(out, "block_hashes");
        hashes(out, blocks.hashes);
        key(out, "parent_block_hash");
        match blocks.parent {
            Some(parent) => number64(out, parent),
            None if maps => out.push(NIL),
            None => number64(out, 0),
        }
        key(out, "token_ids");
        array(out, blocks.tokens.len() as u32);
        for token in blocks.tokens {
            out.push(0xce);
            out.extend_from_slice(&token.to_be_bytes());
        }
        key(out, "block_size");
        unsigned(out, u64::from(blocks.block_tokens));
        if !maps || blocks.lora_id.is_some() {
            key(out, "lora_id");
            optional_number(out, blocks.lora_id);
        }
        key(out, "medium");
        text(out, blocks.medium);
        if !maps || blocks.lora_name.is_some() {
            key(out, "lora_name");
            match blocks.lora_name {
                Some(name) => text(out, name),
                None => out.push(NIL),
            }
        }
        if !maps || blocks.cache_salt.is_some() {
            key(out, "extra_keys");
            match blocks.cache_salt {
                None => out.push(NIL),
                Some(salt) => {
                    array(out, blocks.hashes.len() as u32);
                    for block in 0..blocks.hashes.len() {
                        if block == 0 && blocks.parent.is_none() {
                            array(out, 1);
                            text(out, salt);
                        } else {
                            out.push(NIL);
                        }
                    }
                }
            }
        }
        if let Some((index, kind, window)) = blocks.group {
            key(out, "group_idx");
            unsigned(out, u64::from(index));
            key(out, "kv_cache_spec_kind");
            text(out, kind);
            key(out, "kv_cache_spec_sliding_window");
            optional_number(out, window.map(u64::from));
        }
    }

    /// Blocks are gone.
    pub fn removed(&mut self, names: &[u64], medium: &str, group: Option<u32>) {
        self.count += 1;
        let out = &mut self.events;
        let fields = if group.is_some() { 4 } else { 3 };
        let maps = self.layout != EventLayout::Lists;
        if maps {
            map(out, fields);
            text(out, "type");
        } else {
            array(out, fields);
        }
        text(out, "BlockRemoved");
        if maps {
            text(out, "block_hashes");
        }
        hashes(out, names);
        if maps {
            text(out, "medium");
        }
        text(out, medium);
        if let Some(group) = group {
            if maps {
                text(out, "group_idx");
            }
            unsigned(out, u64::from(group));
        }
    }

    /// Everything is gone.
    pub fn cleared(&mut self) {
        self.count += 1;
        let out = &mut self.events;
        if self.layout == EventLayout::Lists {
            array(out, 1);
        } else {
            map(out, 1);
            text(out, "type");
        }
        text(out, "AllBlocksCleared");
    }

    /// The payload; the batch is empty again.
    pub fn finish(&mut self, timestamp: f64, rank: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.events.len() + 48);
        let maps = self.layout == EventLayout::Maps;
        if maps {
            map(&mut out, 3);
            text(&mut out, "ts");
        } else {
            array(&mut out, 3);
        }
        out.push(0xcb);
        out.extend_from_slice(&timestamp.to_be_bytes());
        if maps {
            text(&mut out, "events");
        }
        array(&mut out, self.count);
        out.append(&mut self.events);
        if maps {
            text(&mut out, "data_parallel_rank");
        }
        unsigned(&mut out, u64::from(rank));
        self.count = 0;
        out
    }
}

const NIL: u8 = 0xc0;

fn array(out: &mut Vec<u8>, len: u32) {
    match len {
        0..16 => out.push(0x90 | len as u8),
        16..0x1_0000 => {
            out.push(0xdc);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(0xdd);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

/// Of at most 15 pairs.
fn map(out: &mut Vec<u8>, pairs: u32) {
    out.push(0x80 | (pairs & 0x0f) as u8);
}

fn text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        len @ 0..32 => out.push(0xa0 | len as u8),
        len @ 32..256 => out.extend_from_slice(&[0xd9, len as u8]),
        len => {
            out.push(0xdb);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

fn number64(out: &mut Vec<u8>, number: u64) {
    out.push(0xcf);
    out.extend_from_slice(&number.to_be_bytes());
}

fn hashes(out: &mut Vec<u8>, names: &[u64]) {
    array(out, names.len() as u32);
    names.iter().for_each(|name| number64(out, *name));
}

fn optional_number(out: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => unsigned(out, number),
        None => out.push(NIL),
    }
}

fn unsigned(out: &mut Vec<u8>, number: u64) {
    match number {
        0..0x80 => out.push(number as u8),
        0x80..0x100 => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..0x1_0000 => {
            out.push(0xcd);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(0xce);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        _ => number64(out, number),
    }
}
